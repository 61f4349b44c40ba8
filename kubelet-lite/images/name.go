// SPDX-License-Identifier: Apache-2.0

// Package images brings a container's image to the node: by pull policy, with the pod's pull secrets, backing off after
// failures, without ever blocking its caller. Pods that wait for the same image wait for one pull; the cost is one goroutine
// a pull and one small record a pod and image.
package images

import (
	"fmt"

	"github.com/distribution/reference"
)

// Normalize completes a short name as the runtime would (busybox is docker.io/library/busybox:latest) and returns it
// with the registry and repository that credentials are matched against.
func Normalize(image string) (full, repository string, err error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", "", fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	tagged := image
	if reference.IsNameOnly(named) {
		tagged = image + ":latest"
	}
	return tagged, named.Name(), nil
}

// SPDX-License-Identifier: Apache-2.0

package simulated

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestRegistries(t *testing.T) {
	for _, c := range []struct {
		registries []string
		image      string
		pulled     bool
	}{
		{nil, "nginx", true},
		{nil, "10.0.0.5:5000/app:1", true},
		{nil, "registry.invalid/app:1", false},
		{nil, "registry.invalid:5000/app:1", false},
		{nil, "No/Such/Name", false},
		{[]string{"registry.k8s.io"}, "registry.k8s.io/pause:3.10", true},
		{[]string{"registry.k8s.io"}, "nginx", false},
		{[]string{"registry.k8s.io"}, "registry.k8s.io:5000/pause:3.10", false},
		{[]string{"registry.k8s.io", "docker.io"}, "nginx", true},
		{[]string{"registry.k8s.io", "docker.io"}, "team/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", true},
		{[]string{"10.0.0.5:5000"}, "10.0.0.5:5000/app:1", true},
		{[]string{"registry.invalid"}, "registry.invalid/app:1", false},
	} {
		_, err := New(Options{Registries: c.registries}).Images().PullImage(t.Context(), &runtimeapi.ImageSpec{Image: c.image}, nil, nil)
		if (err == nil) != c.pulled {
			t.Errorf("with registries %q, the pull of %s ends with %v", c.registries, c.image, err)
		}
	}
}

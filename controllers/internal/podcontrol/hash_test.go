// SPDX-License-Identifier: Apache-2.0

package podcontrol

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestTemplateHash(t *testing.T) {
	template := func(image string) *corev1.PodTemplateSpec {
		return &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: image}}}}
	}
	zero, one := int32(0), int32(1)
	hashes := map[string]bool{}
	for _, hash := range []string{TemplateHash(template("a"), nil), TemplateHash(template("b"), nil), TemplateHash(template("a"), &zero), TemplateHash(template("a"), &one)} {
		if hash == "" || len(hash) > 10 || strings.Trim(hash, "bcdfghjklmnpqrstvwxz2456789") != "" {
			t.Errorf("hash %q", hash)
		}
		hashes[hash] = true
	}
	first, again := TemplateHash(template("a"), nil), TemplateHash(template("a"), nil)
	if len(hashes) != 4 || first != again {
		t.Errorf("hashes %v: want four, and the same for the same", hashes)
	}
}

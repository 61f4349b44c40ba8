// SPDX-License-Identifier: Apache-2.0

package owner

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Left returns the controller that an object had before a change and has no longer, nil where it still has it or had none.
func Left(before, after metav1.Object) *metav1.OwnerReference {
	was, is := metav1.GetControllerOfNoCopy(before), metav1.GetControllerOfNoCopy(after)
	if was == nil || is != nil && is.UID == was.UID {
		return nil
	}
	return was
}

// MayAdopt tells whether a workload with this selector may adopt an object with these labels. An empty selector, or one that
// does not parse, adopts nothing.
func MayAdopt(selector *metav1.LabelSelector, set map[string]string) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && !parsed.Empty() && parsed.Matches(labels.Set(set))
}

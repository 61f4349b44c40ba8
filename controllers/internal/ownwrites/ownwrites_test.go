// SPDX-License-Identifier: Apache-2.0

package ownwrites

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestSeen(t *testing.T) {
	object := func(name, uid, version string) metav1.Object {
		return &metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), ResourceVersion: version}
	}
	var log Log
	if !log.Seen(object("a", "1", "5")) {
		t.Error("an object that was never written counts as old")
	}
	log.Wrote(object("a", "1", "9"))
	for _, test := range []struct {
		name string
		obj  metav1.Object
		want bool
	}{
		{"older", object("a", "1", "8"), false},
		{"the same", object("a", "1", "9"), true},
		{"newer, with more digits", object("a", "1", "10"), true},
		{"without version", object("a", "1", ""), false},
		{"made again", object("a", "2", "3"), true},
		{"another", object("b", "1", "1"), true},
	} {
		if got := log.Seen(test.obj); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	log.Forget("ns", "a")
	if !log.Seen(object("a", "1", "8")) {
		t.Error("still remembered")
	}
}

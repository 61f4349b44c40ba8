// SPDX-License-Identifier: Apache-2.0

// Package cmp stands in for github.com/google/go-cmp/cmp where hivemindd is linked. etcd's checks of itself, which are off, are all that
// would use it there. With the original, which looks methods up by name, the linker would keep every method of every type:
// 20 MB of a program of which each page costs memory.
package cmp

import "reflect"

// Diff says whether x and y differ; it does not say how.
func Diff(x, y any) string {
	if reflect.DeepEqual(x, y) {
		return ""
	}
	return "they differ"
}

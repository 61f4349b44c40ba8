// SPDX-License-Identifier: Apache-2.0

// Package ownwrites keeps a controller from reading its own past: it records which version of an object the controller
// wrote last, and tells whether a cached copy is at least as new. A controller that counts in a status needs that, for in
// an older copy what it counted is missing. It costs one small record for each object written, until it is forgotten.
package ownwrites

import (
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Log is safe for concurrent use. Its zero value is empty.
type Log struct {
	mu   sync.Mutex
	last map[types.NamespacedName]version
}

type version struct {
	uid             types.UID
	resourceVersion uint64
}

// Wrote records the object as the server returned it from a write.
func (l *Log) Wrote(obj metav1.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last = map[types.NamespacedName]version{}
	}
	l.last[key(obj)] = versionOf(obj)
}

// Seen reports whether the copy is not older than what was written last. Another object by the same name counts as newer.
func (l *Log) Seen(obj metav1.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	wrote, ok := l.last[key(obj)]
	is := versionOf(obj)
	return !ok || is.uid != wrote.uid || is.resourceVersion >= wrote.resourceVersion
}

// Forget drops what is known of an object that is gone, or that the controller is done with.
func (l *Log) Forget(namespace, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.last, types.NamespacedName{Namespace: namespace, Name: name})
}

func key(obj metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// versionOf reads the resource version, which is a number that grows with every write of the resource (KEP-5504).
func versionOf(obj metav1.Object) version {
	n, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		n = 0
	}
	return version{obj.GetUID(), n}
}

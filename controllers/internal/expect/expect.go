// SPDX-License-Identifier: Apache-2.0

// Package expect keeps a controller from acting twice on a cache that has not yet seen its last action: it records
// what was created and deleted for an owner, and the owner is left alone until the informer has told of it all.
// Memory is one small record for each owner with actions under way or done since it was first seen.
package expect

import (
	"sync"
	"time"
)

// Timeout is how long an owner waits for events that never come before it is worked on regardless.
const Timeout = 5 * time.Minute

// Expectations are safe for concurrent use. Owners and objects are named by their namespace/name keys.
type Expectations struct {
	now func() time.Time

	mu     sync.Mutex
	owners map[string]*expectation
}

type expectation struct {
	creations int
	deletions map[string]struct{}
	since     time.Time
}

// New returns expectations that all owners satisfy.
func New() *Expectations {
	return &Expectations{now: time.Now, owners: map[string]*expectation{}}
}

// ExpectCreations replaces what is expected of the owner by n creations.
func (e *Expectations) ExpectCreations(owner string, n int) {
	e.set(owner, &expectation{creations: n})
}

// ExpectDeletions replaces what is expected of the owner by the deletion of objects. An object that is reported twice,
// first as marked for deletion and then as gone, counts once.
func (e *Expectations) ExpectDeletions(owner string, objects []string) {
	exp := &expectation{deletions: make(map[string]struct{}, len(objects))}
	for _, o := range objects {
		exp.deletions[o] = struct{}{}
	}
	e.set(owner, exp)
}

// Expect replaces what is expected of the owner by both: n creations and the deletion of objects.
func (e *Expectations) Expect(owner string, n int, objects []string) {
	e.ExpectDeletions(owner, objects)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owners[owner].creations = n
}

// CreationObserved says that one creation was seen, or will never be since it failed.
func (e *Expectations) CreationObserved(owner string) { e.CreationsObserved(owner, 1) }

// CreationsObserved says that n creations were seen, or will never be.
func (e *Expectations) CreationsObserved(owner string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if exp := e.owners[owner]; exp != nil {
		exp.creations -= n
	}
}

// DeletionObserved says that the deletion of object was seen, or will never be since it failed.
func (e *Expectations) DeletionObserved(owner, object string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if exp := e.owners[owner]; exp != nil {
		delete(exp.deletions, object)
	}
}

// Satisfied reports whether nothing is outstanding for the owner, or it was for too long.
func (e *Expectations) Satisfied(owner string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	exp := e.owners[owner]
	return exp == nil || (exp.creations <= 0 && len(exp.deletions) == 0) || e.now().Sub(exp.since) > Timeout
}

// Forget drops what is known of an owner that is gone.
func (e *Expectations) Forget(owner string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.owners, owner)
}

func (e *Expectations) set(owner string, exp *expectation) {
	exp.since = e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owners[owner] = exp
}

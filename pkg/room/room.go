// SPDX-License-Identifier: Apache-2.0

// Package room bounds the memory that requests take together. The API machinery bounds how many requests are worked on at once, and how long a body may be; two
// hundred bodies of 3 MiB are within both, and a body of 3 MiB that is a list of small things is a quarter of a gigabyte once it is an object, and the
// copies of it that a write needs.
//
// A request has an Account, which is asked for room when something becomes known of how large its work is: when its body is read, when the object that it asks
// for is read, when a webhook answers. Small ones get it at once, large ones when others have ended. There are three places to wait in, which a request passes
// in this order, so that nobody waits for one who waits for them:
//
//   - texts, while a text is read of which nobody knows what it will become,
//   - work, for what it becomes,
//   - alone, for a request that has room and turns out to need more.
//
// Cost: an account is one allocation a request; text longer than FreeText is looked at once, a nanosecond a byte.
package room

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// FreeText is how many bytes an object may have that nobody needs to ask for.
const FreeText = 4 << 10

// What is shared, in bytes, and what a request has of it without waiting.
const (
	textBudget = 16 << 20
	workBudget = 64 << 20
	freeWork   = 256 << 10
)

// patience is how long a request waits before its client is told to come back, as in kube-apiserver a quarter of the time that a request has.
const patience = 15 * time.Second

// Room is what all requests share.
type Room struct {
	texts, work, alone *semaphore.Weighted
}

// New returns a room that is empty.
func New() *Room {
	return &Room{semaphore.NewWeighted(textBudget), semaphore.NewWeighted(workBudget), semaphore.NewWeighted(1)}
}

// Kind is what is done with an object.
type Kind int64

// Of these the number is how many times the memory of an object the request needs.
const (
	Reads  Kind = 1
	Writes Kind = 3
)

// Account is what one request has of the room. It may be used by many goroutines.
type Account struct {
	room *Room
	ctx  context.Context // the request's

	mu   sync.Mutex
	kind Kind
	list bool
	// What the account has of the room's budgets, to be given back.
	text, work int64
	alone      bool
	refused    int64 // what Has has said no to
	closed     bool
	err        error // of a wait that was too long
	sprawls    bool
}

type accountKey struct{}

// Open returns an account for the request of ctx, which Close ends, and a context in which AccountOf finds it. One of a list asks for the room of one object: how
// many lists are made at once others decide.
func (r *Room) Open(ctx context.Context, kind Kind, list bool) (context.Context, *Account) {
	a := &Account{room: r, kind: kind, list: list}
	a.ctx = context.WithValue(ctx, accountKey{}, a)
	return a.ctx, a
}

// AccountOf returns the account of the request that a context is of, or nil.
func AccountOf(ctx context.Context) *Account {
	a, _ := ctx.Value(accountKey{}).(*Account)
	return a
}

// Sprawls tells whether the request's body has so many elements that more errors can be in it than a client is told of.
func (a *Account) Sprawls() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sprawls
}

// Close gives back what the account has.
func (a *Account) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.room.texts.Release(a.text)
	a.room.work.Release(a.work)
	if a.alone {
		a.room.alone.Release(1)
	}
	a.text, a.work, a.alone = 0, 0, false
}

// Converts says that objects are converted between being stored and being answered, which takes as much as writing them.
func (a *Account) Converts() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kind = Writes
}

// Has tells whether there is room for an object of that cost now. If not, the caller has to drop what it has of the object, call Wait, and begin anew.
func (a *Account) Has(cost int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	cost = a.needs(cost)
	switch {
	case a.enough(cost):
		return true
	case a.work == 0 && a.room.work.TryAcquire(cost):
		a.work = cost
		return true
	case a.work > 0 && a.room.alone.TryAcquire(1):
		a.alone = true
		return true
	}
	a.refused = cost
	return false
}

// Refused tells whether Has has said no since the last Wait.
func (a *Account) Refused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused > 0
}

// Wait waits for the room that Has has refused. Its error is for the client.
func (a *Account) Wait() error {
	a.mu.Lock()
	work := a.refused
	a.refused = 0
	a.mu.Unlock()
	return a.take(work)
}

// needs is what an object of that cost takes of the work's budget: one that is larger than all of it is worked on alone.
func (a *Account) needs(cost int64) int64 { return min(cost*int64(a.kind), workBudget) }

func (a *Account) enough(work int64) bool {
	return a.closed || a.alone || work <= max(a.work, freeWork) || a.list && a.work > 0
}

// take waits for work, or, where there is some already that is not enough, to be alone in having more.
func (a *Account) take(work int64) error {
	a.mu.Lock()
	if a.enough(work) {
		a.mu.Unlock()
		return nil
	}
	budget, part := a.room.work, work
	if a.work > 0 {
		budget, part = a.room.alone, 1
	}
	a.mu.Unlock()
	if err := a.acquire(budget, part); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed || budget == a.room.work && a.work > 0 || budget == a.room.alone && a.alone: // another goroutine of the request was first
		budget.Release(part)
	case budget == a.room.work:
		a.work = part
	default:
		a.alone = true
	}
	return nil
}

func (a *Account) acquire(budget *semaphore.Weighted, part int64) error {
	if budget.TryAcquire(part) {
		return nil
	}
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	if budget.Acquire(ctx, part) == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = apierrors.NewTooManyRequests("Too many requests, please try again later.", 1)
	return a.err
}

// Err is what the client is to be told where the request has waited too long for room, whatever others have made of it.
func (a *Account) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

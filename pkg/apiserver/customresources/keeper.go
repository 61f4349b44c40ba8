// SPDX-License-Identifier: Apache-2.0

package customresources

import (
	"context"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
)

// budgets are what handlers may take of memory, in bytes of their estimated cost: those with compiled rules, which requests wait for until others
// are done with theirs, and those without, of which all that a request or a watch uses are kept.
var budgets = map[bool]int64{true: 64 << 20, false: 32 << 20}

const (
	// patience is how long a request waits before its client is told to come back.
	patience = 15 * time.Second
	// idleAfter is how long a handler is kept that nobody asks.
	idleAfter = 5 * time.Minute
	// lastWords is how long watches go on when their definition has changed or is gone, as they do with kube-apiserver: what was written before is
	// told, and no client begins anew before it can.
	lastWords = time.Second
)

// keeper has the handlers that are in use, or were not long ago. One that is let go of has nothing to close: its stores share the client of the
// storage with all others.
type keeper struct {
	definitions listers.CustomResourceDefinitionLister
	handlerOf   func(*one) (handler, error)
	// building holds back all but one handler that is being built: what building needs for a moment is more than what stays.
	building sync.Mutex

	mu      sync.Mutex
	known   map[types.UID]known
	kept    map[key]*kept
	used    map[bool]int64 // of the budgets: with rules, and without
	waiting int            // requests
	freed   chan struct{}  // closed, and made anew, when a handler is not used any more that requests wait for
	sweeper *time.Timer    // nil while nothing is kept
	stopped bool
}

// known is what is remembered of a definition, however often its handlers come and go.
type known struct {
	generation int64
	contents   contents
}

// key names a handler of a definition.
type key struct {
	uid   types.UID
	rules bool // compiled
}

// kept is a handler.
type kept struct {
	key
	definition *one
	cost       int64
	// life ends when its watches are to end, whose clients begin others: they would go on to be told of objects as their definition was.
	life context.Context
	end  context.CancelFunc

	once    sync.Once
	handler handler // once built
	err     error

	// Of these the keeper knows.
	uses int
	last time.Time // used
	gone bool      // not to be found any more
}

func newKeeper(definitions listers.CustomResourceDefinitionLister, handlerOf func(*one) (handler, error)) *keeper {
	return &keeper{
		definitions: definitions, handlerOf: handlerOf,
		known: map[types.UID]known{}, kept: map[key]*kept{}, used: map[bool]int64{}, freed: make(chan struct{}),
	}
}

// take returns the handler for requests of d, which is to be given back; validates is whether they ask the rules. It waits, until ctx ends, where
// there is no room for more rules.
func (k *keeper) take(ctx context.Context, d *apiextensionsv1.CustomResourceDefinition, validates bool) (*kept, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	have := k.known[d.UID]
	if have.generation != d.Generation {
		have = known{d.Generation, contentsOf(d)}
		k.known[d.UID] = have
	}
	key := key{d.UID, validates && have.contents.programs > 0}
	for {
		if h := k.kept[key]; h != nil {
			if h.definition.is(d) {
				h.uses++
				return h, nil
			}
			k.dismiss(h)
		}
		// One that is larger than all of the budget is served alone.
		cost := min(have.contents.cost(key.rules), budgets[key.rules])
		if k.makeRoom(key.rules, cost) || !key.rules {
			h := &kept{key: key, definition: newOne(k.definitions, d, key.rules), cost: cost, uses: 1}
			h.life, h.end = context.WithCancel(context.Background())
			k.kept[key] = h
			k.used[key.rules] += cost
			if k.sweeper == nil && !k.stopped {
				k.sweeper = time.AfterFunc(idleAfter, k.sweep)
			}
			return h, nil
		}
		if err := k.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait returns when a handler is free, or with an error when ctx ends. It unlocks the keeper meanwhile.
func (k *keeper) wait(ctx context.Context) error {
	freed := k.freed
	k.waiting++
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.waiting--
	}()
	select {
	case <-freed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// built returns the handler of h, which the first that asks builds.
func (k *keeper) built(h *kept) (handler, error) {
	h.once.Do(func() {
		k.building.Lock()
		defer k.building.Unlock()
		if h.handler, h.err = k.handlerOf(h.definition); h.err == nil {
			// What it fails over it says to those whom it serves.
			_, _ = h.handler.GetCustomResourceListerCollectionDeleter(h.definition.seen)
		}
	})
	return h.handler, h.err
}

// giveBack ends a use of h.
func (k *keeper) giveBack(h *kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h.uses--
	h.last = time.Now()
	if h.uses > 0 {
		return
	}
	if h.gone {
		k.used[h.rules] -= h.cost
		h.end()
	}
	if k.waiting > 0 {
		close(k.freed)
		k.freed = make(chan struct{})
	}
}

// makeRoom lets go of handlers that nobody uses, those first that were used longest ago, until cost fits into the budget. It returns whether it does.
func (k *keeper) makeRoom(rules bool, cost int64) bool {
	for k.used[rules]+cost > budgets[rules] {
		var oldest *kept
		for _, h := range k.kept {
			if h.rules == rules && h.uses == 0 && (oldest == nil || h.last.Before(oldest.last)) {
				oldest = h
			}
		}
		if oldest == nil {
			return false
		}
		k.drop(oldest)
	}
	return true
}

// drop lets go of h, which those who use it keep.
func (k *keeper) drop(h *kept) {
	delete(k.kept, h.key)
	h.gone = true
	if h.uses == 0 {
		k.used[h.rules] -= h.cost
		h.end()
	}
}

// dismiss lets go of h, which those who use it keep, but for watches.
func (k *keeper) dismiss(h *kept) {
	k.drop(h)
	if h.uses > 0 {
		time.AfterFunc(lastWords, h.end)
	}
}

// changed lets go of what does not serve d as it is now.
func (k *keeper) changed(d *apiextensionsv1.CustomResourceDefinition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, rules := range []bool{false, true} {
		if h := k.kept[key{d.UID, rules}]; h != nil && !h.definition.is(d) {
			k.dismiss(h)
		}
	}
}

// forget lets go of a definition.
func (k *keeper) forget(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, uid)
	for _, rules := range []bool{false, true} {
		if h := k.kept[key{uid, rules}]; h != nil {
			k.dismiss(h)
		}
	}
}

// ending lets go of the compiled rules of a definition that is being deleted: who deletes its objects compiles them once more.
func (k *keeper) ending(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.kept[key{uid, true}]; h != nil {
		k.drop(h)
	}
}

// stop lets go of all that is kept, and keeps no time any more.
func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	if k.sweeper != nil {
		k.sweeper.Stop()
	}
	for _, h := range k.kept {
		k.drop(h)
	}
}

// sweep lets go of handlers that nobody has used for long.
func (k *keeper) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.kept {
		if h.uses == 0 && time.Since(h.last) >= idleAfter {
			k.drop(h)
		}
	}
	k.sweeper = nil
	if len(k.kept) > 0 && !k.stopped {
		k.sweeper = time.AfterFunc(idleAfter, k.sweep)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package loop is the part that all controllers share: a queue of object keys, workers that call sync for each, and
// back-off where sync fails. A key waits once however often it is added and is never worked on twice at a time, so
// the cost follows the number of objects that changed, not the number of events. Idle, a loop is its workers blocked
// on the queue.
package loop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// A key that keeps failing is tried again after 5 ms, twice that, and so on, up to maxDelay: what was mended by hand
// is picked up within that time even where no event tells of it.
const (
	minDelay = 5 * time.Millisecond
	maxDelay = 30 * time.Second
)

// A key of a paced loop whose sync took long rests for restFactor times as long, at most restMax, before its next: what is
// one object of many parts that change one after the other is then written a few times, not once for each.
const (
	restAbove  = 20 * time.Millisecond
	restFactor = 4
	restMax    = time.Second
)

// Loop calls sync for the keys (namespace/name) that are added to it.
type Loop struct {
	name string
	sync func(ctx context.Context, key string) error

	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[string] // from Run on: it has goroutines, which end with Run
	early map[string]time.Duration                     // what was added before, and after how long it is due
	rests map[string]time.Time                         // until when; nil where the loop is not paced
}

// New returns a loop that calls sync once it runs. name stands in its log lines.
func New(name string, sync func(ctx context.Context, key string) error) *Loop {
	return &Loop{name: name, sync: sync, early: map[string]time.Duration{}}
}

// open makes the queue, with what was added before.
func (l *Loop) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](minDelay, maxDelay))
	for key, delay := range l.early {
		l.queue.AddAfter(key, delay) // without delay, at once
	}
	l.early = nil
}

// Paced has keys whose sync takes long rest between two of them; it returns the loop. It is called before Run.
func (l *Loop) Paced() *Loop {
	l.rests = map[string]time.Time{}
	return l
}

// Run waits for the caches, then works on keys with the given number of workers until ctx ends and all of them have
// returned.
func (l *Loop) Run(ctx context.Context, workers int, synced ...cache.InformerSynced) {
	l.open()
	defer l.queue.ShutDown()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for l.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	l.queue.ShutDown()
	wg.Wait()
}

// RunWith is Run, beside which other runs with one worker: what a controller does now and then for something else than its own objects.
func (l *Loop) RunWith(ctx context.Context, workers int, other *Loop, synced ...cache.InformerSynced) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		other.Run(ctx, 1, synced...)
	}()
	l.Run(ctx, workers, synced...)
	<-done
}

// Enqueue adds the key of an object or of the tombstone an informer left of it.
func (l *Loop) Enqueue(obj any) { l.EnqueueAfter(obj, 0) }

// EnqueueAfter adds the key of obj once the delay has passed.
func (l *Loop) EnqueueAfter(obj any, delay time.Duration) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		utilruntime.HandleError(fmt.Errorf("%s: key of %T: %w", l.name, obj, err))
		return
	}
	l.AddAfter(key, delay)
}

// Add adds a key.
func (l *Loop) Add(key string) { l.AddAfter(key, 0) }

// AddAfter adds a key once the delay has passed.
func (l *Loop) AddAfter(key string, delay time.Duration) {
	l.mu.Lock()
	queue := l.queue
	if queue == nil {
		if due, waits := l.early[key]; !waits || delay < due {
			l.early[key] = delay
		}
	}
	l.mu.Unlock()
	if queue != nil {
		queue.AddAfter(key, delay) // without delay, at once
	}
}

// Handler enqueues every object that is added, changed or deleted.
func (l *Loop) Handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    l.Enqueue,
		UpdateFunc: func(_, cur any) { l.Enqueue(cur) },
		DeleteFunc: l.Enqueue,
	}
}

func (l *Loop) next(ctx context.Context) bool {
	key, quit := l.queue.Get()
	if quit {
		return false
	}
	defer l.queue.Done(key)
	if left := l.resting(key); left > 0 {
		l.queue.AddAfter(key, left)
		return true
	}
	defer l.rest(key, time.Now())
	// A namespace that is going away refuses creations for good: trying again would only make noise.
	err := l.guarded(ctx, key)
	if err == nil || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		l.queue.Forget(key)
		return true
	}
	var after RetryAfter
	if errors.As(err, &after) {
		l.queue.Forget(key)
		l.queue.AddAfter(key, time.Duration(after))
		return true
	}
	l.queue.AddRateLimited(key)
	switch logger := klog.FromContext(ctx); {
	case ctx.Err() != nil:
	case apierrors.IsConflict(err):
		// The cache was behind what we wrote ourselves; the event that brings it up to date is on its way.
		logger.V(3).Info("Trying again", "controller", l.name, "key", key, "err", err)
	default:
		logger.Error(err, "Sync failed", "controller", l.name, "key", key)
	}
	return true
}

// resting returns how long a key has yet to rest.
func (l *Loop) resting(key string) time.Duration {
	if l.rests == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.rests[key])
}

// rest has a key rest whose sync began at begin, if it took long.
func (l *Loop) rest(key string, begin time.Time) {
	took := time.Since(begin)
	if l.rests == nil || took < restAbove {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(l.rests, func(_ string, until time.Time) bool { return until.Before(now) })
	l.rests[key] = now.Add(min(took*restFactor, restMax))
}

// guarded turns a panic into an error: one object that a controller cannot digest must not end the API server and all
// other controllers in the same process.
func (l *Loop) guarded(ctx context.Context, key string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return l.sync(ctx, key)
}

// RetryAfter is what sync returns to be called again after this time although nothing failed.
type RetryAfter time.Duration

func (r RetryAfter) Error() string { return "retry after " + time.Duration(r).String() }

// Object returns the T that an informer reported, looking inside of a tombstone.
func Object[T any](obj any) (T, bool) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	t, ok := obj.(T)
	return t, ok
}

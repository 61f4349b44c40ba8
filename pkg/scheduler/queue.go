// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

const (
	firstBackoff = time.Second
	longBackoff  = 10 * time.Second
	// A pod that nothing has woken for so long is tried again all the same.
	longestWait = 5 * time.Minute
)

// queue holds the pods that have no node yet:
//
//	 add ───▶ active ──pop──▶ in flight ──done──▶ (gone)
//	  │         ▲                │ retry
//	gated       │  backoff ◀─────┤ failed for a reason that may be over by now
//	            │    ▲ wake      ▼
//	            ╰────┴──────── waiting   for one of the changes that its plugins named
//
// Pop takes from active by priority, then by age; where active is empty, from backoff whoever has waited longest, unless it
// failed by an error. Adding, popping and waking one pod cost the logarithm of their number; a change looks at
// every waiting pod once.
type queue struct {
	clock clock.Clock

	mu      sync.Mutex
	pods    map[types.UID]*queued
	active  podHeap
	backoff podHeap
	notify  chan struct{} // holds one token while there may be something to pop
}

type place int

const (
	placeActive place = iota
	placeBackoff
	placeWaiting
	placeGated
	placeFlying
)

// queued is a pod with its history in the queue.
type queued struct {
	pod      *state.Pod
	place    place
	since    time.Time // when it last joined the queue
	attempts int       // failed ones, for back-off
	ready    time.Time // end of back-off
	errored  bool      // the last attempt failed by an error: back-off is kept to
	waitsFor state.Change
	seen     state.Change // while in flight: what has changed meanwhile
	gone     bool         // while in flight: deleted or placed
	index    int          // in its heap
}

func newQueue(c clock.Clock) *queue {
	return &queue{
		clock:   c,
		pods:    map[types.UID]*queued{},
		active:  podHeap{less: byPriority},
		backoff: podHeap{less: func(a, b *queued) bool { return a.ready.Before(b.ready) }},
		notify:  make(chan struct{}, 1),
	}
}

// set adds a pod, or takes over its new version.
func (q *queue) set(pod *state.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.pods[pod.UID]
	if p == nil {
		p = &queued{pod: pod, since: q.clock.Now(), place: placeGated}
		q.pods[pod.UID] = p
	}
	change := podChange(p.pod, pod)
	if p.place == placeFlying {
		p.seen |= change // the version in flight stays as it is; a retry reads the new one
		return
	}
	p.pod = pod
	switch {
	case len(pod.Spec.SchedulingGates) > 0:
		q.move(p, placeGated)
	case p.place == placeGated:
		q.move(p, placeActive)
	case p.place == placeWaiting && p.waitsFor&change != 0:
		q.wakeOne(p)
	}
}

// delete forgets a pod.
func (q *queue) delete(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p := q.pods[uid]; p != nil {
		if p.place == placeFlying {
			p.gone = true
			return
		}
		q.move(p, placeWaiting)
		delete(q.pods, uid)
	}
}

// pop waits for the next pod to try. It returns nil once ctx has ended.
func (q *queue) pop(ctx context.Context) *queued {
	for {
		q.mu.Lock()
		p, wait := q.next()
		q.mu.Unlock()
		if p != nil {
			return p
		}
		var expired <-chan time.Time
		var timer clock.Timer
		if wait > 0 {
			timer = q.clock.NewTimer(wait)
			expired = timer.C()
		}
		select {
		case <-q.notify:
		case <-expired:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// next takes the pod whose turn it is, or says how long until there may be one (0: not before a change).
func (q *queue) next() (*queued, time.Duration) {
	now := q.clock.Now()
	for len(q.backoff.pods) > 0 && !q.backoff.pods[0].ready.After(now) {
		q.move(q.backoff.pods[0], placeActive)
	}
	if len(q.active.pods) > 0 {
		return q.fly(q.active.pods[0]), 0
	}
	for _, p := range q.backoff.pods {
		if !p.errored {
			return q.fly(p), 0
		}
	}
	if len(q.backoff.pods) > 0 {
		return nil, q.backoff.pods[0].ready.Sub(now)
	}
	return nil, 0
}

func (q *queue) fly(p *queued) *queued {
	q.move(p, placeFlying)
	p.seen, p.gone = 0, false
	return p
}

// done ends the attempt of a pod that needs no other.
func (q *queue) done(p *queued) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pods[p.pod.UID] == p {
		delete(q.pods, p.pod.UID)
	}
}

// retry puts a pod back after a failed attempt, in its version now. It waits for one of the changes given, and not at all where
// one of them has happened since it was popped; errored makes it wait for its back-off alone.
func (q *queue) retry(p *queued, pod *state.Pod, waitsFor state.Change, errored bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.gone || q.pods[p.pod.UID] != p {
		if q.pods[p.pod.UID] == p {
			delete(q.pods, p.pod.UID)
		}
		return
	}
	p.seen |= podChange(p.pod, pod)
	p.pod, p.waitsFor, p.errored = pod, waitsFor, errored
	p.attempts++
	p.since = q.clock.Now()
	p.ready = p.since.Add(backoffAfter(p.attempts))
	if errored || p.seen&waitsFor != 0 {
		q.move(p, placeBackoff)
	} else {
		q.move(p, placeWaiting)
	}
}

// wake lets those waiting pods try again that wait for one of the changes.
func (q *queue) wake(change state.Change) {
	if change == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range q.pods {
		switch {
		case p.place == placeFlying:
			p.seen |= change
		case p.place == placeWaiting && p.waitsFor&change != 0:
			q.wakeOne(p)
		}
	}
}

// wakeStale lets those try again that have waited too long.
func (q *queue) wakeStale() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	for _, p := range q.pods {
		if p.place == placeWaiting && now.Sub(p.since) >= longestWait {
			q.wakeOne(p)
		}
	}
}

func (q *queue) wakeOne(p *queued) {
	if p.ready.After(q.clock.Now()) {
		q.move(p, placeBackoff)
	} else {
		q.move(p, placeActive)
	}
}

// move takes a pod from where it is to where it should be.
func (q *queue) move(p *queued, to place) {
	switch p.place {
	case placeActive:
		heap.Remove(&q.active, p.index)
	case placeBackoff:
		heap.Remove(&q.backoff, p.index)
	}
	p.place = to
	switch to {
	case placeActive:
		heap.Push(&q.active, p)
	case placeBackoff:
		heap.Push(&q.backoff, p)
	default:
		return
	}
	select {
	case q.notify <- struct{}{}:
	default:
	}
}

// backoffAfter is how long a pod waits after so many failed attempts: one second, doubling, ten at most.
func backoffAfter(attempts int) time.Duration {
	d := firstBackoff
	for i := 1; i < attempts && d < longBackoff; i++ {
		d *= 2
	}
	return min(d, longBackoff)
}

func byPriority(a, b *queued) bool {
	if pa, pb := a.pod.Priority(), b.pod.Priority(); pa != pb {
		return pa > pb
	}
	return a.since.Before(b.since)
}

// podHeap implements heap.Interface.
type podHeap struct {
	pods []*queued
	less func(a, b *queued) bool
}

func (h *podHeap) Len() int           { return len(h.pods) }
func (h *podHeap) Less(i, j int) bool { return h.less(h.pods[i], h.pods[j]) }
func (h *podHeap) Swap(i, j int) {
	h.pods[i], h.pods[j] = h.pods[j], h.pods[i]
	h.pods[i].index, h.pods[j].index = i, j
}

func (h *podHeap) Push(x any) {
	p := x.(*queued)
	p.index = len(h.pods)
	h.pods = append(h.pods, p)
}

func (h *podHeap) Pop() any {
	last := len(h.pods) - 1
	p := h.pods[last]
	h.pods[last] = nil
	h.pods = h.pods[:last]
	return p
}

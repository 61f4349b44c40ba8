// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"context"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/pkg/scheduler/state"
)

func queuePod(t *testing.T, name string, priority int32, change ...func(*v1.Pod)) *state.Pod {
	t.Helper()
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)}}
	pod.Spec.Priority = ptr.To(priority)
	for _, c := range change {
		c(pod)
	}
	p, err := state.NewPod(pod)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestQueue plays a script against a queue. Every step is followed by who can be popped at once.
func TestQueue(t *testing.T) {
	gated := func(p *v1.Pod) { p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "g"}} }
	type script struct {
		*queue
		clock *clocktesting.FakeClock
		last  map[string]*queued
	}
	// popAll takes all that can be had, without giving any back.
	popAll := func(s script) (names []string) {
		for {
			s.mu.Lock()
			p, _ := s.next()
			s.mu.Unlock()
			if p == nil {
				return names
			}
			s.last[p.pod.Name] = p
			names = append(names, p.pod.Name)
		}
	}
	for _, test := range []struct {
		name  string
		steps func(t *testing.T, s script) []string
		want  []string
	}{
		{"priority before age", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "old", 0))
			s.clock.Step(time.Second)
			s.set(queuePod(t, "young", 0))
			s.set(queuePod(t, "important", 10))
			return nil
		}, []string{"important", "old", "young"}},
		{"gates keep a pod out", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0, gated))
			return nil
		}, nil},
		{"a gate that is lifted lets it in", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0, gated))
			s.set(queuePod(t, "p", 0))
			return nil
		}, []string{"p"}},
		{"deleted while waiting", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			s.set(queuePod(t, "q", 0))
			s.delete("p")
			return nil
		}, []string{"q"}},
		{"deleted while in flight", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.delete("p")
			s.retry(s.last["p"], queuePod(t, "p", 0), state.Anything, true)
			s.clock.Step(time.Minute)
			return nil
		}, nil},
		{"a change that nobody waits for", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.retry(s.last["p"], queuePod(t, "p", 0), state.PodRemoved, false)
			s.wake(state.NodeLabels)
			s.clock.Step(time.Minute)
			return nil
		}, nil},
		{"a change that it waits for", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.retry(s.last["p"], queuePod(t, "p", 0), state.PodRemoved, false)
			s.wake(state.PodRemoved)
			return nil
		}, []string{"p"}},
		{"a change during the attempt is not missed", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.wake(state.PodRemoved)
			s.retry(s.last["p"], queuePod(t, "p", 0), state.PodRemoved, false)
			return nil
		}, []string{"p"}},
		{"its own change during the attempt is not missed", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.retry(s.last["p"], queuePod(t, "p", 0, func(p *v1.Pod) { p.Spec.Tolerations = []v1.Toleration{{Key: "k"}} }), state.PodItself, false)
			return nil
		}, []string{"p"}},
		{"an error keeps to its back-off", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.retry(s.last["p"], queuePod(t, "p", 0), 0, true)
			return popAll(s)
		}, nil},
		{"an error is tried again after a second", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.retry(s.last["p"], queuePod(t, "p", 0), 0, true)
			s.clock.Step(time.Second)
			return nil
		}, []string{"p"}},
		{"an active pod comes before one in back-off", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 10))
			popAll(s)
			s.retry(s.last["p"], queuePod(t, "p", 10), state.PodRemoved, false)
			s.wake(state.PodRemoved)
			s.set(queuePod(t, "q", 0))
			return nil
		}, []string{"q", "p"}},
		{"nothing has woken it for long", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.retry(s.last["p"], queuePod(t, "p", 0), state.PodRemoved, false)
			s.clock.Step(longestWait)
			s.wakeStale()
			return nil
		}, []string{"p"}},
		{"done is forgotten", func(t *testing.T, s script) []string {
			s.set(queuePod(t, "p", 0))
			popAll(s)
			s.done(s.last["p"])
			s.wake(state.Anything)
			return nil
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
			s := script{newQueue(clock), clock, map[string]*queued{}}
			got := append(test.steps(t, s), popAll(s)...)
			if !slices.Equal(got, test.want) {
				t.Errorf("popped %v, want %v", got, test.want)
			}
		})
	}
}

func TestPopWaits(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	q := newQueue(clock)
	ctx, cancel := context.WithCancel(t.Context())
	popped := make(chan *queued)
	go func() {
		for {
			p := q.pop(ctx)
			popped <- p
			if p == nil {
				return
			}
		}
	}()
	q.set(queuePod(t, "p", 0))
	p := <-popped
	if p.pod.Name != "p" {
		t.Fatalf("popped %s", p.pod.Name)
	}
	q.retry(p, p.pod, 0, true)
	for !clock.HasWaiters() { // until the popper has set its alarm
		select {
		case p := <-popped:
			t.Fatalf("popped %s before its back-off was over", p.pod.Name)
		default:
		}
	}
	clock.Step(firstBackoff)
	if p := <-popped; p.attempts != 1 {
		t.Errorf("attempts = %d, want 1", p.attempts)
	}
	cancel()
	if p := <-popped; p != nil {
		t.Errorf("popped %s after the end", p.pod.Name)
	}
}

func TestBackoffAfter(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 500: 10 * time.Second} {
		if got := backoffAfter(attempts); got != want {
			t.Errorf("backoffAfter(%d) = %v, want %v", attempts, got, want)
		}
	}
}

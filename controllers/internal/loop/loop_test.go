// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// run runs a loop until done is closed, and fails if that or its end takes too long.
func run(t *testing.T, l *Loop, workers int, done <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(ctx, workers)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("the work was not done")
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the loop did not end")
	}
}

func TestRetries(t *testing.T) {
	terminating := apierrors.NewForbidden(corev1.Resource("pods"), "p", errors.New("terminating"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for _, tc := range []struct {
		name  string
		first func() error
		again bool
	}{
		{"an error", func() error { return errors.New("no") }, true},
		{"a conflict", func() error { return apierrors.NewConflict(corev1.Resource("pods"), "p", nil) }, true},
		{"a panic", func() error { panic("no") }, true},
		{"asked to come back", func() error { return RetryAfter(time.Millisecond) }, true},
		{"asked to come back among errors", func() error { return errors.Join(errors.New("no"), RetryAfter(time.Millisecond)) }, true},
		{"a namespace that is going away", func() error { return terminating }, false},
		{"success", func() error { return nil }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			done := make(chan struct{})
			l := New("test", func(_ context.Context, key string) error {
				if key == "last" {
					close(done)
					return nil
				}
				if calls.Add(1) > 1 {
					return nil
				}
				return tc.first()
			})
			l.Add("key")
			l.AddAfter("last", 300*time.Millisecond)
			run(t, l, 1, done)
			if again := calls.Load() > 1; again != tc.again {
				t.Errorf("called %d times", calls.Load())
			}
		})
	}
}

func TestOneAtATimeAndOnce(t *testing.T) {
	var mu sync.Mutex
	working, calls := false, 0
	done := make(chan struct{})
	begun, goOn := make(chan struct{}, 10), make(chan struct{})
	l := New("test", func(_ context.Context, key string) error {
		if key == "last" {
			close(done)
			return nil
		}
		mu.Lock()
		if working {
			t.Error("a key is worked on twice at a time")
		}
		working = true
		calls++
		mu.Unlock()
		begun <- struct{}{}
		<-goOn
		mu.Lock()
		working = false
		mu.Unlock()
		return nil
	})
	for range 5 {
		l.Enqueue(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p"}})
	}
	go func() {
		<-begun
		for range 5 {
			l.Add("n/p") // while it is worked on
		}
		close(goOn)
		<-begun
		l.Add("last")
	}()
	run(t, l, 3, done)
	if calls != 2 {
		t.Errorf("%d calls for ten events, want 2", calls)
	}
}

func TestObject(t *testing.T) {
	pod := &corev1.Pod{}
	for _, obj := range []any{pod, cache.DeletedFinalStateUnknown{Key: "p", Obj: pod}} {
		if got, ok := Object[*corev1.Pod](obj); !ok || got != pod {
			t.Errorf("%T: got %v, %v", obj, got, ok)
		}
	}
	for _, obj := range []any{nil, &corev1.Node{}, cache.DeletedFinalStateUnknown{Key: "p"}} {
		if _, ok := Object[*corev1.Pod](obj); ok {
			t.Errorf("%T is taken for a pod", obj)
		}
	}
}

// TestPaced has a key whose sync takes long rest, and another go on.
func TestPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		var seen []string
		l := New("test", func(_ context.Context, key string) error {
			if key == "long" {
				time.Sleep(100 * time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprint(key, " ", time.Since(begin)))
			return nil
		}).Paced()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Run(ctx, 1)
		}()
		l.Add("long")
		synctest.Wait()
		l.Add("long") // while it is at it
		l.Add("brief")
		time.Sleep(110 * time.Millisecond)
		l.Add("brief")
		time.Sleep(time.Second)
		cancel()
		<-done
		want := []string{"long 100ms", "brief 100ms", "brief 110ms", "long 600ms"}
		if !slices.Equal(seen, want) {
			t.Errorf("synced %q, want %q", seen, want)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/routine"
	"k8s.io/apiserver/pkg/util/flowcontrol"
)

// What waits for events runs without the filters that it came through, and what they have to do at its end is done then.
func TestWatchBeginsApart(t *testing.T) {
	var said []string
	say := func(what string) { said = append(said, what) }
	begin := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		say("begun")
		routine.TaskFrom(r.Context()).Func = func() {
			var stack [64]uintptr
			frames := runtime.CallersFrames(stack[:runtime.Callers(0, stack[:])])
			for frame, more := frames.Next(); more; frame, more = frames.Next() {
				if strings.Contains(frame.Function, "countWatches") {
					t.Errorf("a watch waits within %s", frame.Function)
				}
			}
			say("served")
		}
	})
	tracker := &tracker{said: say}
	handler := beginApart(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		countWatches(begin, tracker).ServeHTTP(w, r)
		say("returned")
	}))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/configmaps?watch=1", nil)
	r = r.WithContext(apirequest.WithRequestInfo(r.Context(), &apirequest.RequestInfo{IsResourceRequest: true, Verb: "watch", Resource: "configmaps"}))
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if want := []string{"counted", "begun", "returned", "served", "forgotten"}; !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
}

// What must be done at the end is done at once where there is no task, and also after one that panics.
func TestAtEnd(t *testing.T) {
	done := false
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if atEnd(r, func() { done = true }); !done {
		t.Error("not done, and there is no task")
	}
	done = false
	task := &routine.Task{Func: func() { panic("in the task") }}
	r = r.WithContext(routine.WithTask(r.Context(), task))
	atEnd(r, func() { done = true })
	if done {
		t.Error("done before the task")
	}
	func() {
		defer func() { _ = recover() }()
		task.Func()
	}()
	if !done {
		t.Error("not done after a task that panics")
	}
}

type tracker struct{ said func(string) }

func (t *tracker) RegisterWatch(*http.Request) flowcontrol.ForgetWatchFunc {
	t.said("counted")
	return func() { t.said("forgotten") }
}

func (*tracker) GetInterestedWatchCount(*apirequest.RequestInfo) int { return 0 }

// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"strings"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/routine"
	"k8s.io/apiserver/pkg/util/flowcontrol"
)

// A watch needs 12 KB of stack to begin, in the filters and what is within them, and one while it waits for events, which is nearly always. The
// runtime never shrinks a stack that is used so far, and a cluster's clients have thousands of watches. So a watch begins on a goroutine that ends
// when all filters have returned, and what follows is a task of the goroutine that the connection has for it (k8s.io/apiserver/pkg/server/routine,
// which kube-apiserver has for the same reason). What filters defer happens when the watch has begun; what must happen when it ends is a
// task appended to its own.

// beginApart is a filter: a watch begins on a goroutine of its own. Here or further out, what has to be done at the end of a watch cannot be deferred.
func beginApart(handler http.Handler) http.Handler {
	return routine.WithRoutine(withDeepStack(handler), func(r *http.Request, _ *apirequest.RequestInfo) bool { return maybeWatch(r) })
}

func isWatch(info *apirequest.RequestInfo) bool {
	return info != nil && info.IsResourceRequest && info.Verb == "watch"
}

// maybeWatch tells whether a request could be a watch, before anybody has found out what it is.
func maybeWatch(r *http.Request) bool {
	return strings.Contains(r.URL.RawQuery, "watch") || strings.Contains(r.URL.Path, "/watch/")
}

// atEnd calls end when the request is over: when its task is, if it has one by now, or else at once.
func atEnd(r *http.Request, end func()) {
	task := routine.TaskFrom(r.Context())
	if task == nil || task.Func == nil {
		end()
		return
	}
	first := task.Func
	task.Func = func() {
		defer end()
		first()
	}
}

// countWatches is a filter within priority and fairness, which takes into account how many watches a write has to be told to. Its own
// count ends when the watch has begun.
func countWatches(handler http.Handler, watches flowcontrol.WatchTracker) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := apirequest.RequestInfoFrom(r.Context()); ok && isWatch(info) {
			if forget := watches.RegisterWatch(r); forget != nil {
				defer atEnd(r, forget)
			}
		}
		handler.ServeHTTP(w, r)
	})
}

// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"testing"
	"time"
)

func TestSatisfied(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration
		do    func(e *Expectations)
		want  bool
	}{
		{name: "nothing was expected", do: func(*Expectations) {}, want: true},
		{name: "creations outstanding", do: func(e *Expectations) { e.ExpectCreations("a", 2); e.CreationObserved("a") }},
		{name: "all creations seen", do: func(e *Expectations) { e.ExpectCreations("a", 2); e.CreationsObserved("a", 2) }, want: true},
		{name: "another owner's creation", do: func(e *Expectations) { e.ExpectCreations("a", 1); e.CreationObserved("b") }},
		{name: "a deletion seen twice counts once", do: func(e *Expectations) {
			e.ExpectDeletions("a", []string{"x", "y"})
			e.DeletionObserved("a", "x")
			e.DeletionObserved("a", "x")
		}},
		{name: "all deletions seen", do: func(e *Expectations) { e.ExpectDeletions("a", []string{"x"}); e.DeletionObserved("a", "x") }, want: true},
		{name: "a deletion that nobody waits for", do: func(e *Expectations) { e.ExpectDeletions("a", []string{"x"}); e.DeletionObserved("a", "z") }},
		{name: "both", do: func(e *Expectations) { e.Expect("a", 1, []string{"x"}); e.DeletionObserved("a", "x") }},
		{name: "forgotten", do: func(e *Expectations) { e.ExpectCreations("a", 1); e.Forget("a") }, want: true},
		{name: "too long ago", after: Timeout + time.Second, do: func(e *Expectations) { e.ExpectCreations("a", 1) }, want: true},
		{name: "replaced by newer ones", do: func(e *Expectations) { e.ExpectCreations("a", 5); e.ExpectDeletions("a", nil) }, want: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Unix(0, 0)
			e := New()
			e.now = func() time.Time { return now }
			tc.do(e)
			now = now.Add(tc.after)
			if got := e.Satisfied("a"); got != tc.want {
				t.Errorf("satisfied: %v, want %v", got, tc.want)
			}
		})
	}
}

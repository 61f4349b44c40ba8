// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"
)

// long is an object that clients write and read, each request at the same time as others: about together of them.
func long(requests, together int64) *History {
	random := rand.New(rand.NewPCG(1, 1))
	now := at(1, "1", 1, "v0", "")
	h := &History{Requests: []Request{{Key: a, Verb: Create, Value: "v0", Call: 0, Return: 1, Outcome: OK, Got: now}}}
	for i := range requests {
		// It happens at 10 i.
		r := Request{Key: a, Verb: Get, Call: max(2, 10*i+5-random.Int64N(5*together)), Return: 10*i + 5 + random.Int64N(5*together), Outcome: OK}
		if random.IntN(2) == 0 {
			r.Verb, r.Value = Patch, fmt.Sprintf("v%d", i+1)
			now = at(now.Version+1, "1", now.Generation+1, r.Value, "")
		}
		r.Got = now
		h.Requests = append(h.Requests, r)
	}
	return h
}

// TestSegments: a long history is cut, and what is wrong in the middle of it is found.
func TestSegments(t *testing.T) {
	h := long(5000, 2)
	if errs := Linearizable(h); len(errs) > 0 {
		t.Error(errs[0])
	}
	h.Requests[2500].Got = h.Requests[2400].Got
	if errs := Linearizable(h); len(errs) == 0 {
		t.Error("a stale answer in the middle is not found")
	}
	var operations []porcupine.Operation
	for _, r := range h.Requests {
		operations = append(operations, operation(r))
	}
	longest := 0
	for _, s := range segments(operations) {
		longest = max(longest, len(s))
	}
	if longest > 2*segmentLength {
		t.Errorf("the longest segment has %d requests", longest)
	}
}

// BenchmarkLongHistory judges an object that is used as those of ten minutes are.
func BenchmarkLongHistory(b *testing.B) {
	h := long(45000, 2)
	b.ReportAllocs()
	for b.Loop() {
		if errs := Linearizable(h); len(errs) > 0 {
			b.Fatal(errs[0])
		}
	}
}

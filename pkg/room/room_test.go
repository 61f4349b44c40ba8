// SPDX-License-Identifier: Apache-2.0

package room

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestCostOf(t *testing.T) {
	const entries = 10_000
	list := `[` + strings.TrimSuffix(strings.Repeat(`{"a":1},`, entries), ",") + `]`
	for _, tt := range []struct {
		name, text string
		least      int64
		most       int64
	}{
		{"a small object", `{"a":[1,2,3]}`, 0, 0},
		{"text", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, 2 << 20, 2<<20 + 1000},
		{"text that looks like a list", `{"a":"` + strings.Repeat(`[{,:\"`, 100_000) + `"}`, 1_200_000, 1_210_000},
		{"a list of small things", list, 7 * entries * perElement, 8 * entries * perElement},
		{"protobuf", "k8s\x00" + strings.Repeat("[", 1<<20), 8 << 20, 8<<20 + 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if cost := CostOf([]byte(tt.text)); cost < tt.least || cost > tt.most {
				t.Errorf("%d bytes cost %d, want %d to %d", len(tt.text), cost, tt.least, tt.most)
			}
		})
	}
}

// read reads a text as a request's body.
func read(a *Account, text string, syntax Syntax, length int64) error {
	body := a.Text(io.NopCloser(strings.NewReader(text)), syntax, length)
	defer body.Close()
	_, err := io.Copy(io.Discard, body)
	return err
}

// waits tells whether an account of the room that reads the text as a body has to wait.
func waits(t *testing.T, r *Room, text string, length int64) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // who has to wait is not patient
	_, a := r.Open(ctx, Writes, false)
	defer a.Close()
	err := read(a, text, JSON, length)
	if err != nil && !apierrors.IsTooManyRequests(err) {
		t.Errorf("%v is not for the client", err)
	}
	return err != nil
}

func TestLargeBodiesWait(t *testing.T) {
	const small = `{"a":1}`
	text := `{"a":"` + strings.Repeat("x", 3<<20) + `"}`
	list := `[` + strings.Repeat(`{"a":1},`, 200_000) + `{}]`
	for _, tt := range []struct {
		name, text string
		atOnce     int // so many are let in
	}{
		{"text", text, workBudget / (3 * 2 * (3<<20 + 8))},
		{"a list of small things", list, 1},
	} {
		for _, length := range []int64{int64(len(tt.text)), -1} {
			t.Run(fmt.Sprintf("%s of length %d", tt.name, length), func(t *testing.T) {
				r := New()
				var in []*Account
				for !waits(t, r, tt.text, length) {
					_, a := r.Open(t.Context(), Writes, false)
					if err := read(a, tt.text, JSON, length); err != nil {
						t.Fatal(err)
					}
					in = append(in, a)
				}
				if len(in) != tt.atOnce {
					t.Errorf("%d at once, want %d", len(in), tt.atOnce)
				}
				if waits(t, r, small, int64(len(small))) {
					t.Error("a small body waits for large ones")
				}
				in[0].Close()
				if waits(t, r, tt.text, length) {
					t.Error("a body waits for one that has ended")
				}
				for _, a := range in {
					a.Close()
				}
				all(t, r)
			})
		}
	}
}

// all fails where somebody who has ended still has something of the room.
func all(t *testing.T, r *Room) {
	t.Helper()
	if !r.texts.TryAcquire(textBudget) || !r.work.TryAcquire(workBudget) || !r.alone.TryAcquire(1) {
		t.Error("something is not given back")
	}
}

func TestYAMLIsNotHiddenByAQuote(t *testing.T) {
	s := scan{syntax: YAML}
	s.add([]byte(`a: it is 5" long` + strings.Repeat("\n- {}", 1000)))
	if s.elements < 5000 {
		t.Errorf("%d elements, want 5000", s.elements)
	}
}

// TestMoreThanExpected has requests that have room find out that they need more: one at a time has.
func TestMoreThanExpected(t *testing.T) {
	r := New()
	_, a := r.Open(t.Context(), Reads, false)
	_, b := r.Open(t.Context(), Reads, false)
	for _, account := range []*Account{a, b} {
		if !account.Has(1 << 20) {
			t.Fatal("the first have no room")
		}
	}
	if !a.Has(10 << 20) {
		t.Error("nobody has more, and yet the first has no room for it")
	}
	if b.Has(10<<20) || !b.Refused() {
		t.Error("two have more than they expected")
	}
	done := make(chan error)
	go func() { done <- b.Wait() }()
	a.Close()
	if err := <-done; err != nil || !b.Has(10<<20) {
		t.Errorf("there is no room when the other has ended: %v", err)
	}
	b.Close()
	all(t, r)
}

func TestClosedEarly(t *testing.T) {
	r := New()
	_, a := r.Open(t.Context(), Writes, false)
	body := a.Text(io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20))), JSON, 1<<20)
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(body.Close(), body.Close()); err != nil {
		t.Error(err)
	}
	a.Close()
	all(t, r)
}

func TestWorking(t *testing.T) {
	r := New()
	outer, a := r.Open(t.Context(), Reads, false)
	inner, b := r.Open(t.Context(), Reads, false)
	endOuter := Working(outer)
	endInner := Working(inner)
	if AccountAtWork() != b {
		t.Error("the goroutine works on another request")
	}
	endInner()
	if AccountAtWork() != a {
		t.Error("the goroutine does not work on the first request any more")
	}
	elsewhere := make(chan *Account)
	go func() { elsewhere <- AccountAtWork() }()
	if <-elsewhere != nil {
		t.Error("another goroutine works on the request as well")
	}
	endOuter()
	if AccountAtWork() != nil {
		t.Error("the goroutine still works on a request")
	}
}

// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// part records what happens to it.
func part(name string, log *[]string, start, ready, stop error) Component {
	note := func(what string, err error) func(context.Context) error {
		return func(context.Context) error {
			*log = append(*log, what+" "+name)
			return err
		}
	}
	return Component{Name: name, Start: note("start", start), Ready: note("ready", ready), Stop: note("stop", stop)}
}

func TestStartInOrderStopInReverse(t *testing.T) {
	var log []string
	group := NewGroup(part("a", &log, nil, nil, nil), part("b", &log, nil, nil, nil))
	var progress []string
	if err := group.Start(t.Context(), func(name string, _ time.Duration) { progress = append(progress, name) }); err != nil {
		t.Fatal(err)
	}
	if err := group.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := group.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(log, ", "), "start a, ready a, start b, ready b, stop b, stop a"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := strings.Join(progress, " "); got != "a b" {
		t.Errorf("progress %s", got)
	}
}

func TestFailedStartUndoesWhatRan(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name         string
		start, ready error
		want         string
	}{
		{"that does not start", broken, nil, "start a, ready a, start b, stop a"},
		{"that does not become ready", nil, broken, "start a, ready a, start b, ready b, stop b, stop a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log []string
			err := NewGroup(part("a", &log, nil, nil, nil), part("b", &log, tt.start, tt.ready, nil), part("c", &log, nil, nil, nil)).Start(t.Context(), nil)
			if !errors.Is(err, broken) || !strings.Contains(err.Error(), "start b") {
				t.Errorf("got %v", err)
			}
			if got := strings.Join(log, ", "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestStopErrorsAreJoined(t *testing.T) {
	var log []string
	one, two := errors.New("one"), errors.New("two")
	group := NewGroup(part("a", &log, nil, nil, one), part("b", &log, nil, nil, two))
	if err := group.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := group.Stop(t.Context()); !errors.Is(err, one) || !errors.Is(err, two) {
		t.Errorf("got %v", err)
	}
}

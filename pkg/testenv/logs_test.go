// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

func logged(t *testing.T, r *recording) []string {
	t.Helper()
	klog.Flush()
	var messages []string
	for line := range strings.Lines(r.String()) {
		_, message, found := strings.Cut(strings.TrimSuffix(line, "\n"), "] ")
		if !found {
			message = strings.TrimSpace(line)
		}
		messages = append(messages, message)
	}
	return messages
}

func TestRecordingsKeepWhatWasSaidMeanwhile(t *testing.T) {
	one := record()
	klog.Info("first")
	two := record()
	klog.Error("second") // goes to several of klog's files
	one.stop()
	one.stop()
	klog.Warning("third")
	two.stop()
	for _, tt := range []struct {
		r    *recording
		want string
	}{{one, "[first second]"}, {two, "[second third]"}} {
		if got := fmt.Sprint(logged(t, tt.r)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestRecordingForgets(t *testing.T) {
	r := record()
	defer r.stop()
	klog.Info("kept")
	mark := r.mark()
	klog.Info("forgotten")
	r.forget(mark)
	klog.Info("kept as well")
	if got := fmt.Sprint(logged(t, r)); got != "[kept kept as well]" {
		t.Errorf("got %s", got)
	}
}

func TestRecordingIsBounded(t *testing.T) {
	r := record()
	defer r.stop()
	long := strings.Repeat("x", 1000)
	for range 200 {
		klog.Info(long)
	}
	klog.Info("last")
	got := logged(t, r)
	if size := len(r.String()); size > maxLogBytes+10 || size < maxLogBytes/2 || got[0] != "…" || got[len(got)-1] != "last" {
		t.Errorf("%d bytes from %.10q to %.10q", size, got[0], got[len(got)-1])
	}
}

// A cluster's log comes with a test that fails, and not with one that passes.
func TestLogIsShownOnFailure(t *testing.T) {
	for _, tt := range []struct{ fails bool }{{false}, {true}} {
		t.Run(fmt.Sprint(tt.fails), func(t *testing.T) {
			r := &reporter{T: t, failed: tt.fails}
			Start(r, Options{Nodes: NoNodes})
			klog.Info("something odd")
			r.end()
			if shown := strings.Contains(r.log, "something odd"); shown != tt.fails {
				t.Errorf("shown: %v\n%s", shown, r.log)
			}
			if strings.Contains(r.log, "ResourceManager") {
				t.Errorf("the log begins with what every start says:\n%s", r.log)
			}
		})
	}
}

// reporter is a test whose end is when end is called.
type reporter struct {
	*testing.T
	failed   bool
	log      string
	cleanups []func()
}

func (r *reporter) Failed() bool                    { return r.failed }
func (r *reporter) Cleanup(f func())                { r.cleanups = append(r.cleanups, f) }
func (r *reporter) Logf(format string, args ...any) { r.log += fmt.Sprintf(format, args...) }

func (r *reporter) end() {
	for _, f := range r.cleanups {
		f()
	}
}

// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hivemind-project/hivemind/kubelet-lite/probe"
)

// script answers each kind of probe, told apart by the path, from a list whose last entry repeats.
type script map[string][]any

// reader reads a script.
type reader struct {
	mu     sync.Mutex
	script script
}

func (r *reader) Probe(_ context.Context, spec *v1.Probe, _ *v1.Container, _, _ string) (probe.Outcome, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.script[spec.HTTPGet.Path]
	answer := list[0]
	if len(list) > 1 {
		r.script[spec.HTTPGet.Path] = list[1:]
	}
	if err, ok := answer.(error); ok {
		return probe.Failure, "", err
	}
	return answer.(probe.Outcome), "why", nil
}

func spec(path string, period, delay, failures, successes int32) *v1.Probe {
	return &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: path}}, PeriodSeconds: period, InitialDelaySeconds: delay, FailureThreshold: failures, SuccessThreshold: successes}
}

const (
	yes = probe.Success
	no  = probe.Failure
)

func TestThresholds(t *testing.T) {
	unknown := errors.New("cannot tell")
	type moment struct {
		after          time.Duration
		started, ready bool
		failed         Kind
	}
	for _, c := range []struct {
		name      string
		container v1.Container
		answers   script
		was       bool
		moments   []moment
	}{
		{"no probes", v1.Container{}, nil, false, []moment{{0, true, true, ""}}},
		{"ready at once", v1.Container{ReadinessProbe: spec("r", 10, 0, 3, 1)}, script{"r": {yes}}, false, []moment{{0, true, true, ""}}},
		{"delay", v1.Container{ReadinessProbe: spec("r", 10, 5, 3, 1)}, script{"r": {yes}}, false, []moment{{4 * time.Second, true, false, ""}, {6 * time.Second, true, true, ""}}},
		{"ready after two", v1.Container{ReadinessProbe: spec("r", 1, 0, 3, 2)}, script{"r": {yes}}, false, []moment{{0, true, false, ""}, {1500 * time.Millisecond, true, true, ""}}},
		{"unready after three", v1.Container{ReadinessProbe: spec("r", 1, 0, 3, 1)}, script{"r": {yes, no, no, yes, no, no, no}}, false,
			[]moment{{0, true, true, ""}, {5500 * time.Millisecond, true, true, ""}, {6500 * time.Millisecond, true, false, ""}}},
		{"an error decides nothing", v1.Container{ReadinessProbe: spec("r", 1, 0, 1, 1)}, script{"r": {yes, unknown, unknown, unknown, unknown}}, false, []moment{{3500 * time.Millisecond, true, true, ""}}},
		{"liveness", v1.Container{LivenessProbe: spec("l", 1, 0, 2, 1)}, script{"l": {yes, no}}, false, []moment{{1500 * time.Millisecond, true, true, ""}, {2500 * time.Millisecond, true, true, Liveness}}},
		{"startup first", v1.Container{StartupProbe: spec("s", 1, 0, 5, 1), ReadinessProbe: spec("r", 10, 0, 1, 1), LivenessProbe: spec("l", 1, 0, 1, 1)},
			script{"s": {no, no, yes}, "r": {yes}, "l": {yes}}, false, []moment{{1500 * time.Millisecond, false, false, ""}, {2500 * time.Millisecond, true, true, ""}}},
		{"startup fails", v1.Container{StartupProbe: spec("s", 1, 0, 2, 1)}, script{"s": {no}}, false, []moment{{1500 * time.Millisecond, false, false, Startup}}},
		{"found ready", v1.Container{StartupProbe: spec("s", 1, 0, 2, 1), ReadinessProbe: spec("r", 10, 0, 1, 1)}, script{"r": {yes}}, true, []moment{{0, true, true, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				m := NewManager(&reader{script: c.answers}, func(types.UID) {})
				begin := time.Now()
				m.Start(ctx, Target{Container: func() *v1.Container { return &c.container }, ID: "c", StartedAt: begin, WasReady: c.was, WasStarted: c.was, Event: func(string, string, string) {}})
				for _, at := range c.moments {
					<-time.After(time.Until(begin.Add(at.after)))
					synctest.Wait()
					failed, _ := m.Failed("c")
					if m.Started("c") != at.started || m.Ready("c") != at.ready || failed != at.failed {
						t.Errorf("after %v: started %v, ready %v, failed %q; want %+v", at.after, m.Started("c"), m.Ready("c"), failed, at)
					}
				}
				m.Stop("c")
				if m.Ready("c") {
					t.Error("a stopped container is ready")
				}
			})
		})
	}
}

func TestQuiesceKeepsReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		m := NewManager(&reader{script: script{"r": {yes, no}, "l": {yes, no}}}, func(types.UID) {})
		container := &v1.Container{ReadinessProbe: spec("r", 1, 0, 1, 1), LivenessProbe: spec("l", 1, 0, 1, 1)}
		m.Start(ctx, Target{Pod: "u", Container: func() *v1.Container { return container }, ID: "c", StartedAt: time.Now(), Event: func(string, string, string) {}})
		synctest.Wait()
		m.Quiesce("u")
		<-time.After(3 * time.Second)
		synctest.Wait()
		if _, failed := m.Failed("c"); failed || m.Ready("c") {
			t.Errorf("failed %v, ready %v", failed, m.Ready("c"))
		}
		m.StopPod("u")
	})
}

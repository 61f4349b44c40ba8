// SPDX-License-Identifier: Apache-2.0

// Package prober keeps asking containers how they are. While a container with probes runs, one timer a probe has it asked at the
// probe's period; results are kept by container, and a pod is told only when one changes. A startup probe runs
// alone, and the others begin when it has succeeded.
package prober

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/probe"
)

const retries = 3 // of a probe that could not be run

// Kind of probe, as events name it.
type Kind string

const (
	Liveness  Kind = "Liveness"
	Readiness Kind = "Readiness"
	Startup   Kind = "Startup"
)

// Asker runs one probe.
type Asker interface {
	Probe(ctx context.Context, spec *v1.Probe, container *v1.Container, containerID, podIP string) (probe.Outcome, string, error)
}

// Target is a running container.
type Target struct {
	Pod       *v1.Pod
	Container *v1.Container
	ID        string
	PodIP     string
	StartedAt time.Time
	// WasReady and WasStarted are what its status said when it was found running: an agent that restarts does not take
	// readiness away before it has asked.
	WasReady, WasStarted bool
	Event                func(eventType, reason, message string)
}

// Manager holds the probes of a node.
type Manager struct {
	asker   Asker
	changed func(types.UID)

	mu      sync.Mutex
	targets map[string]*state // by container id
}

type state struct {
	pod      types.UID
	target   Target          // where it has probes
	life     context.Context // of all its probes; nil where it has none
	cancel   context.CancelFunc
	alive    context.Context // of those that end before the rest when the pod terminates
	quiesce  context.CancelFunc
	probes   []*repeated
	ready    bool
	started  bool
	liveness bool // false: failed
	startup  bool // false: failed
}

// stop ends all probes; the manager's lock is held.
func (s *state) stop() {
	if s.cancel != nil {
		s.cancel()
	}
	for _, p := range s.probes {
		p.timer.Stop()
	}
}

// repeated is one probe of one container. Between two asks it is a timer.
type repeated struct {
	m      *Manager
	s      *state
	ctx    context.Context
	kind   Kind
	spec   *v1.Probe
	timer  *time.Timer
	last   probe.Outcome
	streak int32
}

// NewManager returns a manager that calls changed when a pod's result has.
func NewManager(asker Asker, changed func(types.UID)) *Manager {
	return &Manager{asker: asker, changed: changed, targets: map[string]*state{}}
}

// Start begins to probe a container; it does nothing for one that is probed already. ctx bounds the probing.
func (m *Manager) Start(ctx context.Context, t Target) {
	c := t.Container
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.targets[t.ID]; ok {
		return
	}
	s := &state{liveness: true, startup: true}
	s.started = c.StartupProbe == nil || t.WasStarted
	s.ready = c.ReadinessProbe == nil || t.WasReady
	m.targets[t.ID] = s
	if c.StartupProbe == nil && c.LivenessProbe == nil && c.ReadinessProbe == nil {
		s.pod = t.Pod.UID
		return
	}
	s.pod, s.target = t.Pod.UID, t
	s.life, s.cancel = context.WithCancel(ctx)
	s.alive, s.quiesce = context.WithCancel(s.life)
	if c.StartupProbe != nil && !s.started {
		m.repeat(s.alive, s, Startup, c.StartupProbe)
		return
	}
	m.probeStarted(s)
}

// probeStarted begins the probes of a container that has started; the lock is held.
func (m *Manager) probeStarted(s *state) {
	if p := s.target.Container.LivenessProbe; p != nil {
		m.repeat(s.alive, s, Liveness, p)
	}
	if p := s.target.Container.ReadinessProbe; p != nil {
		m.repeat(s.life, s, Readiness, p)
	}
}

// Started says whether a container has started, and Ready whether it takes traffic; both are true of one without such probes, and
// false of one that is unknown.
func (m *Manager) Started(id string) bool {
	return m.read(id, func(s *state) bool { return s.started })
}

// Ready says whether a container takes traffic.
func (m *Manager) Ready(id string) bool {
	return m.read(id, func(s *state) bool { return s.started && s.ready })
}

// Failed returns the probe, if any, whose failure means that the container is to be killed.
func (m *Manager) Failed(id string) (Kind, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.targets[id]
	switch {
	case ok && !s.startup:
		return Startup, true
	case ok && !s.liveness:
		return Liveness, true
	}
	return "", false
}

// Quiesce ends liveness and startup probes of a pod that terminates; readiness is still of interest to those who send it traffic.
func (m *Manager) Quiesce(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.targets {
		if s.pod == uid && s.quiesce != nil {
			s.quiesce()
		}
	}
}

// Stop ends the probes of a container.
func (m *Manager) Stop(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.targets[id]; ok {
		s.stop()
		delete(m.targets, id)
	}
}

// StopPod ends all probes of a pod.
func (m *Manager) StopPod(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.targets {
		if s.pod == uid {
			s.stop()
			delete(m.targets, id)
		}
	}
}

// Close ends all probes.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.targets {
		s.stop()
		delete(m.targets, id)
	}
}

func (m *Manager) read(id string, get func(*state) bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.targets[id]
	return ok && get(s)
}

// repeat begins to ask, until the container is stopped or the probe has said its last word; the lock is held.
func (m *Manager) repeat(ctx context.Context, s *state, kind Kind, spec *v1.Probe) {
	p := &repeated{m: m, s: s, ctx: ctx, kind: kind, spec: spec}
	wait := time.Until(s.target.StartedAt.Add(time.Duration(spec.InitialDelaySeconds) * time.Second))
	if age := time.Since(s.target.StartedAt); age > time.Minute {
		wait = rand.N(p.period()) // found running: after a restart of the agent not all are asked at once
	}
	p.timer = time.AfterFunc(max(wait, 0), p.ask)
	s.probes = append(s.probes, p)
}

func (p *repeated) period() time.Duration {
	return time.Duration(max(p.spec.PeriodSeconds, 1)) * time.Second
}

// ask asks once, a period after the time before however long that took.
func (p *repeated) ask() {
	next := time.Now().Add(p.period())
	if p.ctx.Err() != nil {
		return
	}
	outcome, err := p.m.ask(p.ctx, p.s, p.kind, p.spec)
	if p.ctx.Err() != nil || (err == nil && p.take(outcome)) {
		return
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.ctx.Err() == nil {
		p.timer.Reset(max(time.Until(next), 0))
	}
}

// take counts an outcome, and records it once there have been as many of its kind as the probe wants. done means that there is nothing
// more to ask.
func (p *repeated) take(outcome probe.Outcome) (done bool) {
	if outcome != p.last || p.streak == 0 {
		p.last, p.streak = outcome, 0
	}
	p.streak++
	if (outcome == probe.Failure && p.streak < p.spec.FailureThreshold) || (outcome == probe.Success && p.streak < p.spec.SuccessThreshold) {
		return false
	}
	return p.m.record(p.s, p.kind, outcome == probe.Success)
}

// ask runs the probe, again where it could not be run, and tells of what is worth an event.
func (m *Manager) ask(ctx context.Context, s *state, kind Kind, spec *v1.Probe) (probe.Outcome, error) {
	t := s.target
	var outcome probe.Outcome
	var output string
	var err error
	for range retries {
		if outcome, output, err = m.asker.Probe(ctx, spec, t.Container, t.ID, t.PodIP); err == nil || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return outcome, ctx.Err()
	}
	logger := klog.FromContext(ctx)
	switch {
	case err != nil:
		t.Event(v1.EventTypeWarning, "Unhealthy", string(kind)+" probe errored and resulted in unknown state: "+err.Error())
	case outcome == probe.Failure:
		logger.V(2).Info("Probe failed", "kind", kind, "pod", klog.KObj(t.Pod), "container", t.Container.Name, "output", output)
		t.Event(v1.EventTypeWarning, "Unhealthy", string(kind)+" probe failed: "+output)
	case outcome == probe.Warning:
		t.Event(v1.EventTypeWarning, "ProbeWarning", string(kind)+" probe warning: "+output)
		outcome = probe.Success
	}
	return outcome, err
}

// record takes a result that has reached its threshold. done means that there is nothing more to ask.
func (m *Manager) record(s *state, kind Kind, ok bool) (done bool) {
	m.mu.Lock()
	if m.targets[s.target.ID] != s {
		m.mu.Unlock()
		return true
	}
	changed := false
	switch kind {
	case Readiness:
		changed, s.ready = s.ready != ok, ok
	case Liveness:
		changed, s.liveness, done = !ok, ok, !ok
	case Startup:
		changed, s.startup, s.started, done = true, ok, ok, true
		if ok {
			m.probeStarted(s)
		}
	}
	m.mu.Unlock()
	if changed {
		m.changed(s.pod)
	}
	return done
}

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

// Target is a running container. It holds no pod: one that is probed for days would keep the version in memory that it began with.
type Target struct {
	Pod types.UID
	// Container returns its spec; nil once its pod is not there any more.
	Container func() *v1.Container
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
	id       string
	target   *Target         // where it has probes
	ctx      context.Context // bounds them
	probes   []*repeated
	ready    bool
	started  bool
	liveness bool // false: failed
	startup  bool // false: failed
}

// repeated is one probe of one container. Between two asks it is a timer.
type repeated struct {
	m      *Manager
	s      *state
	kind   Kind
	timer  *time.Timer
	cancel context.CancelFunc // while it asks
	ended  bool
	last   probe.Outcome
	streak int32
}

// end ends a probe, also while it asks; the manager's lock is held.
func (p *repeated) end() {
	p.ended = true
	p.timer.Stop()
	if p.cancel != nil {
		p.cancel()
	}
}

// stop ends all probes; the manager's lock is held.
func (s *state) stop() {
	for _, p := range s.probes {
		p.end()
	}
}

// NewManager returns a manager that calls changed when a pod's result has.
func NewManager(asker Asker, changed func(types.UID)) *Manager {
	return &Manager{asker: asker, changed: changed, targets: map[string]*state{}}
}

// Knows says whether a container is probed, or has no probes to be asked.
func (m *Manager) Knows(id string) bool { return m.read(id, func(*state) bool { return true }) }

// Start begins to probe a container; it does nothing for one that is probed already. ctx bounds the probing.
func (m *Manager) Start(ctx context.Context, t Target) {
	c := t.Container()
	if c == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.targets[t.ID]; ok {
		return
	}
	s := &state{pod: t.Pod, id: t.ID, liveness: true, startup: true}
	s.started = c.StartupProbe == nil || t.WasStarted
	s.ready = c.ReadinessProbe == nil || t.WasReady
	m.targets[t.ID] = s
	if c.StartupProbe == nil && c.LivenessProbe == nil && c.ReadinessProbe == nil {
		return
	}
	s.target, s.ctx = &t, ctx
	if c.StartupProbe != nil && !s.started {
		m.repeat(s, Startup, c.StartupProbe)
		return
	}
	m.probeStarted(s, c)
}

// probeStarted begins the probes of a container that has started; the lock is held.
func (m *Manager) probeStarted(s *state, c *v1.Container) {
	if c == nil {
		return
	}
	if c.LivenessProbe != nil {
		m.repeat(s, Liveness, c.LivenessProbe)
	}
	if c.ReadinessProbe != nil {
		m.repeat(s, Readiness, c.ReadinessProbe)
	}
}

// specOf is a container's probe of a kind.
func specOf(c *v1.Container, kind Kind) *v1.Probe {
	switch kind {
	case Liveness:
		return c.LivenessProbe
	case Startup:
		return c.StartupProbe
	}
	return c.ReadinessProbe
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
		for _, p := range s.probes {
			if s.pod == uid && p.kind != Readiness {
				p.end()
			}
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
func (m *Manager) repeat(s *state, kind Kind, spec *v1.Probe) {
	p := &repeated{m: m, s: s, kind: kind}
	wait := time.Until(s.target.StartedAt.Add(time.Duration(spec.InitialDelaySeconds) * time.Second))
	if age := time.Since(s.target.StartedAt); age > time.Minute {
		wait = rand.N(period(spec)) // found running: after a restart of the agent not all are asked at once
	}
	p.timer = time.AfterFunc(max(wait, 0), p.ask)
	s.probes = append(s.probes, p)
}

func period(spec *v1.Probe) time.Duration {
	return time.Duration(max(spec.PeriodSeconds, 1)) * time.Second
}

// ask asks once, and again a period after it began, however long that took.
func (p *repeated) ask() {
	begin := time.Now()
	container := p.s.target.Container()
	if container == nil {
		return
	}
	spec := specOf(container, p.kind)
	p.m.mu.Lock()
	if p.ended || spec == nil || p.s.ctx.Err() != nil {
		p.m.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(p.s.ctx)
	p.cancel = cancel
	p.m.mu.Unlock()
	defer cancel()
	outcome, err := p.m.ask(ctx, p.s, p.kind, spec, container)
	if ctx.Err() != nil || (err == nil && p.take(outcome, spec, container)) {
		return
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.cancel = nil
	if !p.ended {
		p.timer.Reset(max(time.Until(begin.Add(period(spec))), 0))
	}
}

// take counts an outcome, and records it once there have been as many of its kind as the probe wants. done means that there is nothing
// more to ask.
func (p *repeated) take(outcome probe.Outcome, spec *v1.Probe, container *v1.Container) (done bool) {
	if outcome != p.last || p.streak == 0 {
		p.last, p.streak = outcome, 0
	}
	p.streak++
	if (outcome == probe.Failure && p.streak < spec.FailureThreshold) || (outcome == probe.Success && p.streak < spec.SuccessThreshold) {
		return false
	}
	return p.m.record(p.s, p.kind, outcome == probe.Success, container)
}

// ask runs the probe, again where it could not be run, and tells of what is worth an event.
func (m *Manager) ask(ctx context.Context, s *state, kind Kind, spec *v1.Probe, container *v1.Container) (probe.Outcome, error) {
	t := s.target
	var outcome probe.Outcome
	var output string
	var err error
	for range retries {
		if outcome, output, err = m.asker.Probe(ctx, spec, container, t.ID, t.PodIP); err == nil || ctx.Err() != nil {
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
		logger.V(2).Info("Probe failed", "kind", kind, "podUID", t.Pod, "container", container.Name, "output", output)
		t.Event(v1.EventTypeWarning, "Unhealthy", string(kind)+" probe failed: "+output)
	case outcome == probe.Warning:
		t.Event(v1.EventTypeWarning, "ProbeWarning", string(kind)+" probe warning: "+output)
		outcome = probe.Success
	}
	return outcome, err
}

// record takes a result that has reached its threshold. done means that there is nothing more to ask.
func (m *Manager) record(s *state, kind Kind, ok bool, container *v1.Container) (done bool) {
	m.mu.Lock()
	if m.targets[s.id] != s {
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
			m.probeStarted(s, container)
		}
	}
	m.mu.Unlock()
	if changed {
		m.changed(s.pod)
	}
	return done
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/hivemind-project/hivemind/test/load"
)

// afterglow is how long a system is left alone after the load before its memory is read.
const afterglow = 3 * time.Second

// idleWatchers are how many show what one costs in memory.
const idleWatchers = 1000

// sample is what one round has measured on one system.
type sample struct {
	values     map[string]float64 // by the key of a row
	failed     int                // operations
	firstError string
}

// aloneLacks are phases that etcd and the API server alone are not compared in, to keep a run short.
var aloneLacks = []string{"lists", "jsonlists", "watches", "deployments", "deletes"}

// measure runs one round on one system: start, idle, load, restart.
func measure(ctx context.Context, s system, dir string, o options, say func(string, ...any)) (_ *sample, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	inst, err := s.make(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		remove, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if ctx.Err() != nil {
			err = context.Cause(ctx) // all else that is wrong now comes from that
		}
		err = errors.Join(err, inst.Remove(remove), os.RemoveAll(dir))
	}()
	m := &sample{values: map[string]float64{}}
	begin := time.Now()
	r, err := inst.Start(ctx)
	if err != nil {
		return nil, err
	}
	if s.name != alone {
		if err := awaitServiceAccount(ctx, r); err != nil {
			return nil, err
		}
		m.values["start account"] = time.Since(begin).Seconds()
		m.values["start"] = r.ready.Seconds()
		say("ready after %.2f s", r.ready.Seconds())
		if o.idle > 0 {
			if err := m.idle(ctx, r, o.idle); err != nil {
				return nil, err
			}
		}
	}
	if err := m.load(ctx, s, r, o, say); err != nil {
		return nil, r.blame(err)
	}
	if s.name != alone && slices.Contains(o.phases, "pods") {
		if err := m.restart(ctx, inst, r, o); err != nil {
			return nil, err
		}
		say("ready after a restart with its data after %.2f s", m.values["restart"])
	}
	return m, nil
}

// awaitServiceAccount waits until controllers work: the first thing that they make is this.
func awaitServiceAccount(ctx context.Context, r *running) error {
	client, err := clientFor(r.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the controllers have not made it in a minute"))
	defer cancel()
	for {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return r.blame(fmt.Errorf("wait for ServiceAccount default/default: %w", err))
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("wait for ServiceAccount default/default: %w", err)
		}
	}
}

// idle measures what the system holds and spends when nobody asks for anything.
func (m *sample) idle(ctx context.Context, r *running, long time.Duration) error {
	if err := pause(ctx, long); err != nil {
		return err
	}
	before, err := usage(r.pids)
	if err != nil {
		return err
	}
	if err := pause(ctx, long); err != nil {
		return err
	}
	after, err := usage(r.pids)
	if err != nil {
		return err
	}
	m.values["idle rss"] = after.RSS
	m.values["idle cpu"] = 100 * (after.CPU - before.CPU).Seconds() / long.Seconds()
	return nil
}

// load runs the phases.
func (m *sample) load(ctx context.Context, s system, r *running, o options, say func(string, ...any)) error {
	l, err := load.New(ctx, load.Options{Config: r.config, Clients: o.clients, Sizes: o.Sizes, Timeout: o.timeout, Processes: r.pids})
	if err != nil {
		return err
	}
	watch, err := watchMachine(r.pids)
	if err != nil {
		return err
	}
	for _, phase := range o.phases {
		if s.name == alone && slices.Contains(aloneLacks, phase) {
			continue
		}
		results, err := l.Run(ctx, phase)
		if err != nil {
			return err
		}
		for _, result := range results {
			say("%v", result)
			m.add(result)
		}
		if phase == "pods" && slices.Contains(o.phases, "configmaps") {
			m.values["full rss"] = results[0].RSS()
		}
	}
	if m.values["others"], err = watch.others(); err != nil || s.name == alone {
		return err
	}
	if err := pause(ctx, afterglow); err != nil {
		return err
	}
	after, err := usage(r.pids)
	if err != nil {
		return err
	}
	m.values["end rss"] = after.RSS
	if slices.Contains(o.phases, "deletes") && !slices.Contains(o.phases, "refill") {
		_, err = l.Run(ctx, "refill") // so that the restart finds as much as there was
	}
	return err
}

// add notes what a phase has measured.
func (m *sample) add(r load.Result) {
	if m.failed += r.Errors; m.firstError == "" {
		m.firstError = r.FirstError
	}
	for suffix, value := range map[string]float64{" rate": r.PerSecond, " p50": r.P50, " p99": r.P99, " seconds": r.Max / 1000, " cpu": r.CPU} {
		m.values[r.Name+suffix] = value
	}
}

// restart stops the system and times its start over the data that is there, all of it.
func (m *sample) restart(ctx context.Context, inst instance, r *running, o options) error {
	before, err := countPods(ctx, r.config)
	if err != nil {
		return err
	}
	stop, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := inst.Stop(stop); err != nil {
		return err
	}
	again, err := inst.Start(ctx)
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	m.values["restart"] = again.ready.Seconds()
	after, err := countPods(ctx, again.config)
	if err == nil && after != before {
		err = fmt.Errorf("restart: there are %d Pods, and were %d", after, before)
	}
	if err != nil {
		return again.blame(err)
	}
	return m.watchers(ctx, again, o)
}

// watchers measures what an idle watcher costs in memory. A system that has just started is right for it: there is little free in its heap to take it from.
func (m *sample) watchers(ctx context.Context, r *running, o options) error {
	if err := pause(ctx, afterglow); err != nil {
		return err
	}
	before, err := usage(r.pids)
	if err != nil {
		return err
	}
	stop, err := load.OpenWatchers(ctx, r.config, o.clients, idleWatchers)
	if err != nil {
		return err
	}
	defer stop()
	if err := pause(ctx, afterglow); err != nil {
		return err
	}
	after, err := usage(r.pids)
	m.values["watcher rss"] = (after.RSS - before.RSS) * 1024 / idleWatchers
	return err
}

// countPods asks for one, and how many more there are.
func countPods(ctx context.Context, config *rest.Config) (int64, error) {
	client, err := clientFor(config)
	if err != nil {
		return 0, err
	}
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("count Pods: %w", err)
	}
	n := int64(len(list.Items))
	if list.RemainingItemCount != nil {
		n += *list.RemainingItemCount
	}
	return n, nil
}

// usage is that of all processes together.
func usage(pids map[string]int) (load.Usage, error) {
	var sum load.Usage
	for name, pid := range pids {
		u, err := load.Measure(pid)
		if err != nil {
			return load.Usage{}, fmt.Errorf("%s: %w", name, err)
		}
		sum.CPU, sum.RSS = sum.CPU+u.CPU, sum.RSS+u.RSS
	}
	return sum, nil
}

// clientFor has no limits of its own.
func clientFor(config *rest.Config) (kubernetes.Interface, error) {
	c := rest.CopyConfig(config)
	c.QPS = -1
	return kubernetes.NewForConfig(c)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

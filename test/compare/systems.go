// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/load"
	"github.com/hivemind-project/hivemind/test/process"
	"github.com/hivemind-project/hivemind/test/stock"
)

// Names of the systems.
const (
	hivemind = "hivemind" // hivemind up --roles server, all else by default
	full     = "stock"    // etcd, kube-apiserver, kube-controller-manager and kube-scheduler
	alone    = "alone"    // etcd and kube-apiserver
)

var systemNames = []string{full, hivemind, alone}

// system is something that is measured. Each round has one of its own, in a new directory.
type system struct {
	name string
	make func(dir string) (instance, error)
}

// instance is a control plane that can be started more than once over the same data.
type instance interface {
	// Start returns when it is ready, and says how long it took until /readyz answered 200.
	Start(ctx context.Context) (*running, error)
	// Stop ends it and keeps its data.
	Stop(ctx context.Context) error
	// Remove ends it, and leaves nothing but its directory.
	Remove(ctx context.Context) error
}

// running is a control plane that is ready.
type running struct {
	config *rest.Config
	pids   map[string]int
	ready  time.Duration
	err    func() error // says whether a part of it has ended
}

// versionsOf says what is compared.
func versionsOf(ctx context.Context, root string) (versions, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(root, "bin", "hivemind"), "version", "-o", "json").Output()
	if err != nil {
		return versions{}, fmt.Errorf("hivemind version: %w", err)
	}
	var v struct{ Version, Kubernetes string }
	if err := json.Unmarshal(out, &v); err != nil {
		return versions{}, fmt.Errorf("read hivemind version: %w", err)
	}
	kubernetes, err := stock.Version(ctx)
	return versions{Hivemind: fmt.Sprintf("%s (Kubernetes %s)", v.Version, v.Kubernetes), Kubernetes: kubernetes}, err
}

// blame puts a part that has ended in the place of what came of it.
func (r *running) blame(symptom error) error {
	if err := r.err(); err != nil {
		return err
	}
	return symptom
}

// prepare builds what the systems need, and checks that it is there.
func prepare(ctx context.Context, root string, o options) ([]system, error) {
	if _, err := os.Stat(filepath.Join(root, "bin", "hivemind")); err != nil {
		return nil, fmt.Errorf("there is no bin/hivemind (make build makes it): %w", err)
	}
	bin, err := stock.Build(ctx, os.Stderr, "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
	if err != nil {
		return nil, err
	}
	var systems []system
	for _, name := range o.systems {
		s := system{name: name, make: func(dir string) (instance, error) {
			return &stockInstance{options: stock.Options{Dir: dir, BinDir: bin, Controllers: name == full, Scheduler: name == full, ClientQPS: o.clientQPS}}, nil
		}}
		if name == hivemind {
			s.make = newHivemind
		}
		systems = append(systems, s)
	}
	return systems, nil
}

// stockInstance is stock Kubernetes.
type stockInstance struct {
	options stock.Options
	plane   *stock.ControlPlane
}

func (s *stockInstance) Start(ctx context.Context) (_ *running, err error) {
	if s.plane, err = stock.Start(ctx, s.options); err != nil {
		return nil, err
	}
	return &running{config: s.plane.RESTConfig(), pids: s.plane.Processes(), ready: s.plane.ReadyAfter(), err: s.plane.Err}, nil
}

func (s *stockInstance) Stop(ctx context.Context) error { return s.plane.Stop(ctx) }

func (s *stockInstance) Remove(ctx context.Context) error {
	if s.plane == nil {
		return nil
	}
	return s.plane.Stop(ctx)
}

// hivemindInstance is bin/hivemind.
type hivemindInstance struct{ cluster *cluster.Cluster }

func newHivemind(dir string) (instance, error) {
	c, err := cluster.New(dir)
	return &hivemindInstance{c}, err
}

// Start times as a person would: from the start of `hivemind up`, which in a new directory unpacks all programs.
func (h *hivemindInstance) Start(ctx context.Context) (*running, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	begin := time.Now()
	done := make(chan error, 1)
	go func() {
		_, err := h.cluster.Up(ctx, "--roles", "server")
		done <- err
	}()
	ready, err := h.awaitReadyz(ctx, begin, done)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", h.cluster.Config.AdminKubeconfig())
	if err != nil {
		return nil, err
	}
	pid, err := h.pid(ctx)
	if err != nil {
		return nil, err
	}
	return &running{config: config, pids: map[string]int{"hivemindd": pid}, ready: ready, err: func() error {
		if _, err := load.Measure(pid); err != nil {
			log, err := os.ReadFile(h.cluster.Config.Path("logs", "hivemindd.log"))
			return errors.Join(fmt.Errorf("hivemindd has ended; the last of its log:\n%s", process.LastLines(string(log), 10)), err)
		}
		return nil
	}}, nil
}

// awaitReadyz asks until the answer is 200 and `hivemind up`, whose end done tells, has returned.
func (h *hivemindInstance) awaitReadyz(ctx context.Context, begin time.Time, done <-chan error) (ready time.Duration, err error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	url := fmt.Sprintf("https://127.0.0.1:%d/readyz", h.cluster.Config.API.Port)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ready == 0 {
		select {
		case <-tick.C:
			answer, err := client.Get(url)
			if err != nil {
				continue // nobody listens yet
			}
			if answer.StatusCode == http.StatusOK {
				ready = time.Since(begin)
			}
			if err := answer.Body.Close(); err != nil {
				return 0, err
			}
		case err := <-done:
			if err == nil {
				err = errors.New("hivemind up says that it is ready, and /readyz does not")
			}
			return 0, err
		}
	}
	return ready, <-done
}

// pid asks `hivemind status`.
func (h *hivemindInstance) pid(ctx context.Context) (int, error) {
	out, err := h.cluster.Verb(ctx, "status", "-o", "json")
	if err != nil {
		return 0, err
	}
	var status struct {
		Processes []struct {
			Name string
			PIDs []int
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return 0, fmt.Errorf("read hivemind status: %w", err)
	}
	if len(status.Processes) != 1 || len(status.Processes[0].PIDs) != 1 {
		return 0, fmt.Errorf("hivemind status names other processes than one hivemindd: %s", out)
	}
	return status.Processes[0].PIDs[0], nil
}

func (h *hivemindInstance) Stop(ctx context.Context) error {
	_, err := h.cluster.Verb(ctx, "down")
	return err
}

func (h *hivemindInstance) Remove(ctx context.Context) error {
	_, err := h.cluster.Verb(ctx, "reset", "--yes")
	return err
}

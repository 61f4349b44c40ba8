// SPDX-License-Identifier: Apache-2.0

// Package containerd keeps one stock containerd running beside this process and talks to nobody but it.
//
// containerd is a child in a session and a cgroup of its own, so that it and the containers (children of their shims)
// outlive this process however that ends:
//
//	this process ends, or is killed      containerd and containers run on; the next start adopts them
//	containerd ends, or is killed        it is started again with back-off; containers run on through their shims
//	Stop                                 containerd ends, containers run on
//	Reset                                nothing is left: processes, mounts, namespaces, cgroups, files
//
// A running containerd is adopted if it was started from the same binary with the same configuration; else it is
// stopped and a new one takes its containers over. The cost here is one sleeping goroutine and no polling; a start takes
// some 50 ms until CRI answers.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
)

// Options say where everything is. All paths are absolute.
type Options struct {
	BinDir     string   // has containerd, containerd-shim-runc-v2 and runc
	DataDir    string   // the cluster's data directory: containerd's root is its containerd/
	RunDir     string   // the cluster's run directory; short, as socket paths end at 107 bytes
	LogFile    string   // where containerd's output goes; default DataDir/logs/containerd.log
	LogLevel   string   // containerd's; default warn
	CgroupRoot string   // containerd and shims run in its group containerd
	CNIBinDirs []string // where CNI plugins are
	CNIConfDir string   // where the network's configuration is, or will be: it is watched
	PauseImage []byte   // OCI archive of the sandbox image, one image with its name (hack/pauseimage)
	Registries []config.Registry
	MemoryMiB  int // soft limit of containerd's own heap (GOMEMLIMIT), 0 for none
}

// Socket is where CRI is served.
func (o *Options) Socket() string { return filepath.Join(o.state(), "containerd.sock") }

func (o *Options) root() string       { return filepath.Join(o.DataDir, "containerd") }
func (o *Options) state() string      { return filepath.Join(o.RunDir, "containerd") }
func (o *Options) configFile() string { return filepath.Join(o.state(), "config.toml") }
func (o *Options) pidFile() string    { return filepath.Join(o.state(), "containerd.pid") }
func (o *Options) registries() string { return filepath.Join(o.root(), "certs.d") }
func (o *Options) binary() string     { return filepath.Join(o.BinDir, "containerd") }

func (o *Options) logFile() string {
	if o.LogFile != "" {
		return o.LogFile
	}
	return filepath.Join(o.DataDir, "logs", "containerd.log")
}

func (o *Options) logLevel() string {
	if o.LogLevel != "" {
		return o.LogLevel
	}
	return "warn"
}

// Restarts of containerd wait this long, doubled each time; it is forgotten once containerd ran for stableAfter.
const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 10 * time.Second
	stableAfter  = time.Minute
	// stopWithin is how long containerd may take to end before it is killed.
	stopWithin = 10 * time.Second
)

// Supervisor runs containerd. Start, Ready and Stop are a component's; they may be called again after Stop.
type Supervisor struct {
	opts    Options
	cgroups *cgroup.Manager

	mu      sync.Mutex
	current *process
	failed  int // ends of containerd since it last ran well
	cancel  context.CancelFunc
	done    chan struct{}
}

// New returns a supervisor. cgroups is the manager of the cluster's groups.
func New(opts Options, cgroups *cgroup.Manager) *Supervisor {
	return &Supervisor{opts: opts, cgroups: cgroups}
}

// Socket is the CRI socket's path; gRPC's name for it is "unix://" and this.
func (s *Supervisor) Socket() string { return s.opts.Socket() }

// Start adopts the running containerd or starts one, and watches over it until Stop.
func (s *Supervisor) Start(ctx context.Context) error {
	image, err := imageName(s.opts.PauseImage)
	if err != nil {
		return fmt.Errorf("read pause image: %w", err)
	}
	for _, dir := range []string{s.opts.root(), s.opts.state(), filepath.Dir(s.opts.logFile()), s.opts.CNIConfDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("start containerd: %w", err)
		}
	}
	m := inspect(&s.opts)
	m.sandboxImage = image
	if err := writeRegistries(&s.opts); err != nil {
		return err
	}
	config := render(&s.opts, m)
	p, err := s.adopt(ctx, config)
	if err != nil {
		return fmt.Errorf("adopt containerd: %w", err)
	}
	if p == nil {
		if err := os.WriteFile(s.opts.configFile(), []byte(config), 0o600); err != nil {
			return fmt.Errorf("write containerd configuration: %w", err)
		}
		if p, err = s.launch(config); err != nil {
			return fmt.Errorf("start containerd: %w", err)
		}
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.mu.Lock()
	s.current, s.failed, s.cancel, s.done = p, 0, cancel, make(chan struct{})
	done := s.done
	s.mu.Unlock()
	go func() {
		defer close(done)
		s.watch(life, config)
	}()
	return nil
}

// Ready waits until CRI answers and the pause image is there. It fails early, with the end of containerd's log, where
// containerd keeps ending.
func (s *Supervisor) Ready(ctx context.Context) error {
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		s.mu.Lock()
		failed := s.failed
		s.mu.Unlock()
		if failed >= 3 {
			return fmt.Errorf("containerd ended %d times, see %s; it said last:\n%s", failed, s.opts.logFile(), tail(s.opts.logFile(), 5))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for containerd: %w (last: %w)", ctx.Err(), err)
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// Stop ends containerd. Containers run on through their shims.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.mu.Lock()
	cancel, done := s.cancel, s.done
	s.cancel = nil
	s.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	<-done
	s.mu.Lock()
	p := s.current
	s.current = nil
	s.mu.Unlock()
	if err := p.end(ctx, stopWithin); err != nil {
		return fmt.Errorf("stop containerd: %w", err)
	}
	return removeFile(s.opts.pidFile())
}

// Abandon stops watching over containerd and leaves it running, for whoever starts next to adopt.
func (s *Supervisor) Abandon() {
	s.mu.Lock()
	cancel, done := s.cancel, s.done
	s.cancel = nil
	s.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	<-done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.forget()
	s.current = nil
}

// watch starts containerd again whenever it ends.
func (s *Supervisor) watch(ctx context.Context, config string) {
	log := klog.FromContext(ctx)
	backoff := firstBackoff
	for {
		s.mu.Lock()
		p := s.current
		s.mu.Unlock()
		began := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-p.ended:
		}
		if time.Since(began) > stableAfter {
			backoff = firstBackoff
			s.setFailed(0)
		}
		for {
			s.setFailed(s.failures() + 1)
			log.Info("containerd ended and is started again; containers are not touched", "pid", p.pid, "after", backoff)
			select {
			case <-ctx.Done():
				return
			case <-time.After(backoff):
			}
			backoff = min(2*backoff, lastBackoff)
			next, err := s.launch(config)
			if err != nil {
				log.Error(err, "containerd could not be started")
				continue
			}
			s.mu.Lock()
			s.current = next
			s.mu.Unlock()
			break
		}
	}
}

func (s *Supervisor) setFailed(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = n
}

func (s *Supervisor) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func platform() string { return "linux/" + runtime.GOARCH }

func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

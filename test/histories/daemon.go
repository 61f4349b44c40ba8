// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/histories/fault"
	"github.com/hivemind-project/hivemind/test/histories/traffic"
)

// daemon is hivemindd with the server role alone, which can be killed and started again.
type daemon struct {
	config  *apiconfig.Config
	program string
	args    []string
	log     string
	// slow, where it is set, is the disk that it waits for.
	slow *fault.SlowDisk

	process *exec.Cmd
	ended   chan error // has what became of process
	starts  int
	slowest time.Duration // from a start to being ready
}

// newDaemon describes a hivemindd that keeps its data below dir and logs to a file; further arguments are its flags.
func newDaemon(dir, log string, args ...string) (*daemon, error) {
	root, err := cluster.ProjectRoot()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(root, "build", "stage", "hivemindd")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w; make build", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	c := &apiconfig.Config{DataDir: filepath.Join(dir, "data")}
	c.API.Port = l.Addr().(*net.TCPAddr).Port
	return &daemon{config: c, program: program, log: log, args: append([]string{
		"--roles", apiconfig.RoleServer, "--data-dir", c.DataDir, "--api-port", strconv.Itoa(c.API.Port),
		"--node-name", "histories", "--node-ip", "127.0.0.1", "--network-service-cidr", "10.147.0.0/16",
	}, args...)}, nil
}

// start starts the daemon and returns at once.
func (d *daemon) start(ctx context.Context) error {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	d.process = exec.CommandContext(ctx, d.program, d.args...)
	d.process.Stdout, d.process.Stderr = log, log
	if d.slow != nil {
		err = d.slow.Start(d.process)
	} else {
		err = d.process.Start()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", d.program, err)
	}
	d.starts++
	d.ended = make(chan error, 1)
	go func(p *exec.Cmd, ended chan<- error) { ended <- p.Wait() }(d.process, d.ended)
	return nil
}

// readyWithin bounds a start: of a server that is slowed down, and shares its machine.
const readyWithin = 2 * time.Minute

// ready waits until the server says that it is.
func (d *daemon) ready(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var last error
	for {
		server, err := traffic.NewServer(d.config.AdminKubeconfig())
		if err == nil {
			err = server.Ready(ctx)
		}
		if err == nil {
			d.slowest = max(d.slowest, time.Since(began))
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case ended := <-d.ended:
			d.ended <- ended
			return fmt.Errorf("hivemindd has ended while it started: %w; see %s", errors.Join(ended, last), d.log)
		case <-ctx.Done():
			return fmt.Errorf("hivemindd is not ready within %s: %w; see %s", readyWithin, last, d.log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// kill ends the process at once, and returns when it is dead.
func (d *daemon) kill() error {
	if d.process == nil {
		return nil
	}
	if err := d.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	d.ended <- <-d.ended
	return nil
}

// alive tells whether the process has not ended.
func (d *daemon) alive() bool {
	select {
	case err := <-d.ended:
		d.ended <- err
		return false
	default:
		return true
	}
}

// remove ends the process and removes what it leaves outside of its data directory.
func (d *daemon) remove() error {
	err := d.kill()
	return errors.Join(err, os.RemoveAll(d.config.RunDir()))
}

// SPDX-License-Identifier: Apache-2.0

// Package process starts programs that end with the test that needs them, and keeps what they print in a file.
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Process is a running program that ends with this one, also when this one is killed.
type Process struct {
	Name string
	Log  string // file
	PID  int
	done chan struct{} // closed when it has ended
	err  error         // how it ended; set before done is closed
}

// Start starts cmd with its output in <dir>/<name>.log.
func Start(cmd *exec.Cmd, dir, name string) (*Process, error) {
	p := &Process{Name: name, Log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.Log)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	// A process group of its own keeps an interrupt at the terminal for the parent, who then stops all in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// The signal comes when the thread ends that started the child: this one waits as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := cmd.Start()
		if err == nil {
			p.PID = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the program has ended, and returns an error if it failed or was killed.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Err is nil while the program runs; then it has how it ended and the last of the log.
func (p *Process) Err() error {
	select {
	case <-p.done:
		how := "exit status 0"
		if p.err != nil {
			how = p.err.Error()
		}
		return fmt.Errorf("%s has ended (%s); the last of %s:\n%s", p.Name, how, p.Log, p.Tail())
	default:
		return nil
	}
}

// Tail is the last of what the program has printed.
func (p *Process) Tail() string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return LastLines(string(data), 10)
}

// Stop asks the program to end, and kills it when ctx ends, which is an error. Wait tells how it ended.
func (p *Process) Stop(ctx context.Context) error {
	select {
	case <-p.done: // its pid may be another's by now
		return nil
	default:
	}
	if err := syscall.Kill(p.PID, syscall.SIGTERM); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("kill %s: %w", p.Name, err)
	}
	<-p.done
	return fmt.Errorf("%s did not stop when asked and was killed: %w", p.Name, context.Cause(ctx))
}

// LastLines are at most so many of a text, for what a program says before it ends.
func LastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/daemon"
	"github.com/hivemind-project/hivemind/pkg/datadir"
)

// process is a hivemindd that this command started.
type process struct {
	cfg      *apiconfig.Config
	cmd      *exec.Cmd
	progress *os.File
	ended    chan struct{} // closed when it has ended
	logFrom  int64         // where in the log file its words begin
}

// logFile is where hivemindd logs to.
func logFile(cfg *apiconfig.Config) string { return cfg.Path("logs", "hivemindd.log") }

// launch starts hivemindd in a session of its own, so that neither the terminal's end nor its Ctrl-C reaches it.
func launch(cfg *apiconfig.Config, binaries string, detach bool) (*process, error) {
	path := logFile(cfg)
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, err
	}
	// What is said outside of the log, as a crash is, goes to the same file.
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	cmd := exec.Command(filepath.Join(binaries, "hivemindd"), "--config", datadir.ConfigFile(cfg.DataDir),
		"--data-dir", cfg.DataDir, "--bin-dir", binaries, "--log-file", path, "--progress-fd", "3")
	cmd.Dir = "/"
	cmd.Env = withoutSettings(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, read.Close())
	}
	p := &process{cfg: cfg, cmd: cmd, progress: read, ended: make(chan struct{}), logFrom: from}
	go func() {
		// How it ended is in its log and its progress.
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// withoutSettings drops the variables that are in the configuration by now.
func withoutSettings(environ []string) []string {
	var kept []string
	for _, entry := range environ {
		if !strings.HasPrefix(entry, apiconfig.EnvPrefix) {
			kept = append(kept, entry)
		}
	}
	return kept
}

// lastOfServer is the component after which the server role is complete.
const lastOfServer = "scheduler"

// errNodeNotReady is that time is up and the server does all it should, but the node is not Ready.
var errNodeNotReady = errors.New("the API is served, but the node is not ready")

// waitReady calls each for every component that becomes ready, and returns when all are.
func (p *process) waitReady(ctx context.Context, each func(daemon.Event)) error {
	defer p.progress.Close()
	told := make(chan error, 1)
	var last daemon.Event
	var served atomic.Bool
	go func() {
		told <- daemon.Follow(p.progress, func(e daemon.Event) {
			last = e
			if e.Component == lastOfServer {
				served.Store(true)
			}
			each(e)
		})
	}()
	next := "\nNext: hivemind logs --data-dir " + p.cfg.DataDir
	select {
	case <-ctx.Done():
		if served.Load() && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("%w yet; the cluster is left running, so that what is in the way, such as a webhook that refuses everything, can be removed%s", errNodeNotReady, next)
		}
		return fmt.Errorf("the cluster is not ready: %w%s", context.Cause(ctx), next)
	case err := <-told:
		switch {
		case err != nil:
			<-p.ended
			return fmt.Errorf("%w; it said last:\n%s%s", err, indent(p.lastWords()), next)
		case last.Error != "":
			return fmt.Errorf("%s%s", last.Error, next)
		}
	}
	return nil
}

// lastWords are the last lines of the log that this process wrote.
func (p *process) lastWords() string {
	f, err := os.Open(logFile(p.cfg))
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, p.logFrom, 1<<20))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// attend shows what is logged from now on until hivemindd ends, or ctx does, which ends hivemindd.
func (p *process) attend(ctx context.Context, out io.Writer) error {
	follow, cancel := context.WithCancel(ctx)
	defer cancel()
	shown := make(chan error, 1)
	go func() { shown <- showLog(follow, out, logFile(p.cfg), logOptions{follow: true}) }()
	select {
	case <-ctx.Done():
		return p.stop()
	case <-p.ended:
		cancel()
		return errors.Join(<-shown, p.reason())
	}
}

// reason is why hivemindd has ended, as far as it could say.
func (p *process) reason() error {
	status, err := daemon.Read(p.cfg.RunDir())
	if err != nil {
		return err
	}
	if status == nil || status.Error == "" {
		return fmt.Errorf("hivemindd has ended (%v)\nNext: hivemind up, or hivemind logs --data-dir %s for the reason", p.cmd.ProcessState, p.cfg.DataDir)
	}
	return fmt.Errorf("hivemindd has ended (%v): %s\nNext: do what that says; hivemind logs --data-dir %s shows what came before", p.cmd.ProcessState, status.Error, p.cfg.DataDir)
}

// stop ends hivemindd and waits until it has.
func (p *process) stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop hivemindd: %w", err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		return fmt.Errorf("stop hivemindd: process %d has not ended in %s\nNext: kill -9 %d", p.cmd.Process.Pid, stopTimeout, p.cmd.Process.Pid)
	}
}

// runsFrom tells whether a program in dir runs.
func runsFrom(dir string) bool { return len(processesIn(dir)) > 0 }

// processesIn lists the processes whose program is in dir or below, be it deleted since.
func processesIn(dir string) map[int]string {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil
	}
	found := map[int]string{}
	for _, link := range links {
		program, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(program, dir+"/") {
			continue // ended meanwhile, a thread of the kernel, or somebody else's
		}
		var pid int
		if _, err := fmt.Sscanf(link, "/proc/%d/exe", &pid); err == nil {
			found[pid] = filepath.Base(strings.TrimSuffix(program, " (deleted)"))
		}
	}
	return found
}

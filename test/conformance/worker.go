// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// worker runs one test at a time, each in a process of e2e.test of its own: a test that hangs or crashes takes no other along, and its outcome is known as
// it ends. The start of such a process costs 1.2 seconds of a core, most of which goes into the list of 7,500 specs that it builds, and 280 MB while it runs.
type worker struct {
	suite    *suite
	cluster  *examinee
	dir      string        // of the results: logs go to logs/
	limit    time.Duration // for one test; twice that for those that are [Slow]
	cleaning time.Duration // how long a test that is stopped may take to remove what it made; 0 where the cluster is thrown away
}

// examine runs a test to its end, or to the end of ctx, which is an error.
func (w *worker) examine(ctx context.Context, t test) (result, error) {
	temp, err := os.MkdirTemp("", "hivemind-conformance-")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(temp)
	r := result{Test: t.Name, Version: w.cluster.version, Simulated: w.cluster.simulated, Log: filepath.Join("logs", fileName(t.Name))}
	log, err := os.Create(filepath.Join(w.dir, r.Log))
	if err != nil {
		return result{}, err
	}
	defer log.Close()

	limit := w.limit
	if t.has("Slow") {
		limit *= 2
	}
	begin := time.Now()
	// Ginkgo ends the test at the limit, with a report; this ends a process that cannot.
	stop, cancel := context.WithTimeout(ctx, limit+2*grace)
	defer cancel()
	cmd := exec.CommandContext(stop, w.suite.e2e, w.arguments(t, limit, temp)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "HOME="+temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return w.end(cmd.Process.Pid) }
	cmd.WaitDelay = w.cleaning + time.Second
	ended := cmd.Run()
	if cmd.Process != nil {
		// Programs that the test started, such as kubectl proxy, end with it.
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return result{}, fmt.Errorf("end what %q started: %w", t.Name, err)
		}
	}
	if ctx.Err() != nil {
		return result{}, context.Cause(ctx)
	}
	if cmd.Process == nil {
		return result{}, ended
	}

	r.Seconds, r.Finished = seconds(time.Since(begin)), time.Now().UTC().Truncate(time.Second)
	specs, err := readReport(filepath.Join(temp, "report.json"))
	switch {
	case err == nil:
		var took time.Duration
		if r.Outcome, r.Why, took = verdict(specs, t.Name); took > 0 {
			r.Seconds = seconds(took)
		}
	case stop.Err() != nil:
		r.Outcome = timedOut
	default:
		r.Outcome, r.Why = failed, fmt.Sprintf("e2e.test ended without a report: %v", ended)
	}
	if r.Outcome == timedOut {
		r.Why = fmt.Sprintf("not done after %v", limit)
		if step := stepIn(log.Name()); step != "" {
			r.Why += "; its last step: " + step
		}
	}
	return r, nil
}

// grace is how long Ginkgo waits for a test that it has told to end, and then for what cleans up after it.
const grace = 15 * time.Second

func (w *worker) arguments(t test, limit time.Duration, temp string) []string {
	args := []string{
		"--kubeconfig=" + w.cluster.kubeconfig, "--provider=skeleton", "--kubectl-path=" + w.suite.kubectl,
		"--disable-log-dump", "--e2e-output-dir=" + temp,
		"--ginkgo.no-color", "--ginkgo.v", "--ginkgo.silence-skips", "--ginkgo.seed=1", "--ginkgo.fail-on-empty",
		"--ginkgo.timeout=" + limit.String(), "--ginkgo.grace-period=" + grace.String(),
		"--ginkgo.json-report=" + filepath.Join(temp, "report.json"),
		"--ginkgo.focus=" + regexp.QuoteMeta(" "+t.Name) + "$", // Ginkgo looks at the suite's name, a space, and the test's
	}
	if !w.cluster.nodes {
		args = append(args, "--num-nodes=0", "--allowed-not-ready-nodes=-1", "--minStartupPods=0")
	}
	return args
}

// end tells a process and those that it started to end: to clean up first where the cluster goes on.
func (w *worker) end(pid int) error {
	signal := syscall.SIGKILL
	if w.cleaning > 0 {
		signal = syscall.SIGINT
	}
	return syscall.Kill(-pid, signal)
}

func stepIn(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	return lastStep(f)
}

var notInFileNames = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// fileName is the name of a test's log: readable, and different for each test.
func fileName(test string) string {
	name := strings.Trim(notInFileNames.ReplaceAllString(strings.TrimPrefix(test, "[sig-"), "-"), "-")
	sum := sha256.Sum256([]byte(test))
	return fmt.Sprintf("%.100s-%x.log", name, sum[:4])
}

func seconds(d time.Duration) float64 { return d.Round(10 * time.Millisecond).Seconds() }

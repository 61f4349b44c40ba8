// SPDX-License-Identifier: Apache-2.0

// Package doctor looks whether this machine can run a cluster, before anything is written. Each check looks at one
// thing and says what is wrong, why that matters, and the command that mends it. All of them take some 20 ms, most of
// that for a network namespace that is made to try links in and thrown away.
package doctor

import (
	"context"
	"fmt"
	"sync"

	"github.com/hivemind-project/hivemind/apis/config"
)

// Severity says how bad a finding is.
type Severity string

const (
	OK   Severity = "ok"
	Warn Severity = "warning" // works, with a limit that a person should know
	Fail Severity = "failed"  // `hivemind up` refuses to start
)

// Result is what a check found.
type Result struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`           // what was found
	Why      string   `json:"why,omitempty"`  // what it means
	Mend     string   `json:"mend,omitempty"` // the command that mends it
}

// Machine is what checks look at.
type Machine struct {
	Config *config.Config
	// Running is the process that runs the cluster of Config already, or 0: the ports it has are not taken.
	Running int
	// Root is where /proc and /sys are found; "" on a real machine.
	Root string
	// UID is the effective user.
	UID int
}

type check struct {
	name string
	run  func(*Machine) Result
	// containers marks what matters only where real containers run.
	containers bool
}

func checks() []check {
	return []check{
		{name: "root", run: checkRoot, containers: true},
		{name: "cgroups", run: checkCgroups, containers: true},
		{name: "filesystems", run: checkFilesystems, containers: true},
		{name: "network", run: checkNetwork, containers: true},
		{name: "forwarding", run: checkForwarding, containers: true},
		{name: "address", run: checkAddress},
		{name: "ranges", run: checkRanges, containers: true},
		{name: "ports", run: checkPorts},
		{name: "disk", run: checkDisk},
		{name: "data", run: checkData},
		{name: "clock", run: checkClock},
		{name: "clusters", run: checkClusters},
		{name: "capabilities", run: checkCapabilities, containers: true},
	}
}

// Examine runs all checks that matter for the machine's configuration, at once, and returns what they found in order.
func Examine(ctx context.Context, m *Machine) ([]Result, error) {
	var wanted []check
	for _, c := range checks() {
		if !c.containers || m.Config.Runtime != config.RuntimeSimulated {
			wanted = append(wanted, c)
		}
	}
	results := make([]Result, len(wanted))
	var wg sync.WaitGroup
	for i, c := range wanted {
		wg.Go(func() {
			results[i] = c.run(m)
			results[i].Check = c.name
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return results, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("examine the machine: %w", ctx.Err())
	}
}

// Failed returns those of results that keep a cluster from starting.
func Failed(results []Result) []Result {
	var failed []Result
	for _, r := range results {
		if r.Severity == Fail {
			failed = append(failed, r)
		}
	}
	return failed
}

func ok(format string, args ...any) Result {
	return Result{Severity: OK, What: fmt.Sprintf(format, args...)}
}

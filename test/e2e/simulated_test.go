// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hivemind-project/hivemind/test/cluster"
)

// anybody is a user who has no rights on this machine, and no process or file.
const anybody = 61234

// visitor runs hivemind as anybody.
type visitor struct {
	*cluster.Cluster
	home    string
	program string
}

// TestSimulatedAsAnybody runs a cluster of simulated nodes as a user without rights, who must be able to do all that root can with one
// of containers, and whose cluster must leave no trace on the machine outside of its data directory, also while it runs.
func TestSimulatedAsAnybody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test becomes another user, which only root can: sudo make test")
	}
	v := newVisitor(t)
	before := must2[cluster.Machine](t)(v.Look())
	sees := func(out string, parts ...string) {
		t.Helper()
		see(t, out, parts...)
	}

	// Containers are root's, and several nodes are simulated ones.
	if out, err := v.run(t.Context(), "up", "-d"); err == nil {
		t.Errorf("a cluster with containers came up: %s", out)
	} else {
		sees(err.Error(), "hivemind up --runtime simulated")
	}
	if _, err := v.run(t.Context(), "up", "-d", "--nodes", "3"); exitCode(err) != 2 || contains(err.Error(), "nodes: Invalid value: 3", "runtime: simulated") != nil {
		t.Errorf("nodes without simulation: %v", err)
	}

	port := strconv.Itoa(v.Config.API.Port)
	up := []string{"up", "-d", "--runtime", "simulated", "--api-port", port, "--merge-kubeconfig=false"}
	sees(v.must(t, up...), "Ready in", "simulated node")
	sees(v.must(t, "doctor", "--runtime", "simulated", "--api-port", port), "held by this cluster")
	sees(v.kubectl(t, "get", "nodes", "-o", "wide"), " Ready ", "simulated://1.0.0")
	v.kubectl(t, "create", "deployment", "web", "--image", "nginx", "--replicas", "3")
	v.kubectl(t, "create", "job", "migrate", "--image", "app:1", "--", "migrate", "--all")
	v.kubectl(t, "rollout", "status", "deployment/web", "--timeout=60s")
	v.kubectl(t, "wait", "--for=condition=Complete", "job/migrate", "--timeout=60s")
	sees(v.kubectl(t, "logs", "deployment/web"), "container nginx of pod default/web-", "simulated")
	sees(v.kubectl(t, "exec", "deployment/web", "--", "hostname"), "web-")
	if out := v.machine(t, before); len(out) > 0 {
		t.Errorf("the running cluster has changed the machine: %q", out)
	}
	v.nothingElsewhere(t)

	// What runs survives the process.
	pods := v.kubectl(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}")
	pid := v.pid(t)
	if listens := must2[[]int](t)(listening(pid)); !slices.Equal(listens, []int{v.Config.API.Port}) {
		t.Errorf("hivemindd listens on %v, want the API's port %s alone", listens, port)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	sees(v.must(t, "up", "-d", "--api-port", port, "--merge-kubeconfig=false"), "Ready in")
	v.kubectl(t, "rollout", "status", "deployment/web", "--timeout=60s")
	if again := v.kubectl(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}"); again != pods {
		t.Errorf("containers were %s, are %s", pods, again)
	}
	sees(v.must(t, "down"), "has stopped")
	sees(v.must(t, append(up, "--nodes", "3")...), "3 simulated nodes")
	if n := len(strings.Fields(v.kubectl(t, "get", "nodes", "-o", "name"))); n != 3 {
		t.Errorf("there are %d nodes", n)
	}
	sees(v.must(t, "status"), "3, simulated")
	sees(v.must(t, "kubeconfig"), "client-key-data", "127.0.0.1:"+port)

	v.must(t, "reset", "--yes")
	if _, err := os.Stat(v.Config.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory after reset: %v", err)
	}
	v.nothingElsewhere(t)
	if out := v.machine(t, before); len(out) > 0 {
		t.Errorf("reset has left %q", out)
	}
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	home, err := os.MkdirTemp("", "hivemind-visitor-")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.New(home)
	if err != nil {
		t.Fatal(err)
	}
	c.Config.Runtime = "simulated"
	c.Config.DataDir = filepath.Join(home, ".local", "share", "hivemind")
	v := &visitor{Cluster: c, home: home, program: filepath.Join(home, "hivemind")}
	content, err := os.ReadFile(filepath.Join(c.Root, "bin", "hivemind"))
	if err == nil {
		err = errors.Join(os.WriteFile(v.program, content, 0o755), os.Chmod(v.program, 0o755), os.Chown(home, anybody, anybody), os.Chmod(home, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var err error
		if _, gone := os.Stat(v.Config.DataDir); gone == nil {
			_, err = v.run(ctx, "reset", "--yes")
		}
		if err := errors.Join(err, os.RemoveAll(home)); err != nil {
			t.Error(err)
		}
	})
	return v
}

// run runs hivemind as anybody, with nothing in the environment but a home.
func (v *visitor) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, v.program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=" + v.home, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: anybody, Gid: anybody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("hivemind %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (v *visitor) must(t *testing.T, args ...string) string {
	t.Helper()
	return must(t)(v.run(t.Context(), args...))
}

func (v *visitor) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return v.must(t, append([]string{"kubectl", "--cache-dir", filepath.Join(v.home, "cache")}, args...)...)
}

func (v *visitor) pid(t *testing.T) int {
	t.Helper()
	var status struct{ Processes []struct{ PIDs []int } }
	if err := json.Unmarshal([]byte(v.must(t, "status", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Processes) != 1 || len(status.Processes[0].PIDs) != 1 {
		t.Fatalf("processes %+v, want hivemindd alone", status.Processes)
	}
	return status.Processes[0].PIDs[0]
}

// machine is what of this machine is there now and was not before, besides the cluster's own process.
func (v *visitor) machine(t *testing.T, before cluster.Machine) []string {
	t.Helper()
	return slices.DeleteFunc(must2[cluster.Machine](t)(v.Look()).Left(before), func(line string) bool {
		return strings.HasPrefix(line, "process ") && strings.Contains(line, "/hivemindd ")
	})
}

// nothingElsewhere fails the test where anybody owns a file outside of the data directory, kubectl's cache aside. One without rights can
// only write to what everybody can.
func (v *visitor) nothingElsewhere(t *testing.T) {
	t.Helper()
	for _, root := range []string{"/tmp", "/var/tmp", "/dev/shm", "/run", "/var/lock", "/var/lib", v.home} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case path == v.Config.DataDir, path == filepath.Join(v.home, "cache"):
				return fs.SkipDir
			case path == v.home || strings.HasPrefix(v.Config.DataDir, path+"/"):
				return nil
			case err != nil:
				if entry != nil && entry.IsDir() {
					return fs.SkipDir // it has gone, or is a mount of somebody's
				}
				return nil
			}
			var s unix.Stat_t
			if unix.Lstat(path, &s) == nil && s.Uid == anybody {
				t.Errorf("anybody owns %s", path)
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

// listening returns the TCP ports that a process listens on.
func listening(pid int) ([]int, error) {
	descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, d := range descriptors {
		if target, err := os.Readlink(d); err == nil {
			own[target] = true
		}
	}
	var ports []int
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st … inode at column 9; state 0A is LISTEN.
			columns := strings.Fields(line)
			if len(columns) < 10 || columns[3] != "0A" || !own["socket:["+columns[9]+"]"] {
				continue
			}
			_, hex, _ := strings.Cut(columns[1], ":")
			port, err := strconv.ParseInt(hex, 16, 32)
			if err != nil {
				return nil, err
			}
			ports = append(ports, int(port))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// must2 is must for any type.
func must2[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// containerKilled kills the process of a container by hand: it has to run again at once, and after that be counted.
func (s *suite) containerKilled(t *testing.T) {
	status := func() corev1.ContainerStatus {
		t.Helper()
		var pods corev1.PodList
		if err := json.Unmarshal([]byte(s.kubectl(t, "get", "pods", "-l", "app=redis", "-o", "json")), &pods); err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != 1 || len(pods.Items[0].Status.ContainerStatuses) != 1 {
			t.Fatalf("redis has %d pods", len(pods.Items))
		}
		return pods.Items[0].Status.ContainerStatuses[0]
	}
	before := status()
	pid := processOf(t, before.ContainerID)
	begin := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var after corev1.ContainerStatus
	eventually(t, "redis to run again", 30*time.Second, func() error {
		after = status()
		if after.RestartCount != before.RestartCount+1 || after.State.Running == nil {
			return fmt.Errorf("%+v", after)
		}
		return nil
	})
	t.Logf("seen running again after %v", time.Since(begin).Round(time.Millisecond))
	ended := after.LastTerminationState.Terminated
	if ended == nil || ended.ExitCode != 137 {
		t.Fatalf("last state %+v", after.LastTerminationState)
	}
	// Times in a status are whole seconds.
	if gap := after.State.Running.StartedAt.Sub(ended.FinishedAt.Time); gap > 2*time.Second {
		t.Errorf("it was down for %v", gap)
	}
	s.kubectl(t, "rollout", "status", "deploy/redis", "--timeout=60s")
	// Where the first probe came before redis listened, it took until the second, and web has not been ready meanwhile either.
	eventually(t, "web to show what the volume has", 30*time.Second, func() error {
		page, err := fetch("http://127.0.0.1:30080/messages")
		if err != nil {
			return err
		}
		return contains(page, "first")
	})
}

// processOf is the first process of a container, found by its control group.
func processOf(t *testing.T, containerID string) int {
	t.Helper()
	_, id, _ := strings.Cut(containerID, "://")
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err == nil && strings.Contains(string(groups), id) {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no process is in a control group of container %s", id)
	return 0
}

// downAndUp stops the cluster and starts it again: containers must not notice.
func (s *suite) downAndUp(t *testing.T) {
	web, redis := s.containers(t, "web"), s.containers(t, "redis")
	address := s.kubectl(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].status.podIP}")
	see(t, must(t)(s.Verb(t.Context(), "down")), "has stopped")
	see(t, get(t, "http://"+address+":8080/healthz"), "ok")
	see(t, get(t, "http://127.0.0.1:30080/info"), "version") // services go on too; names are not answered
	if out, err := s.Verb(t.Context(), "status"); err == nil {
		t.Errorf("status of a stopped cluster succeeds:\n%s", out)
	}
	must(t)(s.Up(t.Context()))
	s.kubectl(t, "rollout", "status", "deploy/web", "--timeout=60s")
	s.untouched(t, map[string]map[string]string{"web": web, "redis": redis})
	see(t, get(t, "http://127.0.0.1:30080/messages"), "first")
}

// untouched checks that containers are those they were, and were not restarted.
func (s *suite) untouched(t *testing.T, want map[string]map[string]string) {
	t.Helper()
	for app, ids := range want {
		eventually(t, "the containers of "+app, 30*time.Second, func() error {
			if got := s.containers(t, app); !maps.Equal(got, ids) {
				return fmt.Errorf("got %v, want %v", got, ids)
			}
			return nil
		})
	}
}

// killedInRollout ends processes in the way of the kernel while new pods come and objects are written.
func (s *suite) killedInRollout(t *testing.T) {
	version := 1
	for _, victims := range [][]string{{"hivemindd"}, {"containerd"}, {"hivemindd", "containerd"}} {
		name := strings.Join(victims, " and ")
		t.Run(name, func(t *testing.T) {
			redis := s.containers(t, "redis")
			version = 3 - version
			s.kubectl(t, "set", "image", "deploy/web", fmt.Sprintf("web=registry.hivemind.local/guestbook-web:%d", version))
			var acknowledged []string
			for i := range 10 {
				object := fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), i)
				s.kubectl(t, "create", "configmap", object, "--from-literal=a=b")
				acknowledged = append(acknowledged, object)
			}
			s.kill(t, victims...)
			must(t)(s.Up(t.Context()))
			s.kubectl(t, append([]string{"get", "configmap"}, acknowledged...)...)
			s.kubectl(t, "rollout", "status", "deploy/web", "--timeout=120s")
			eventually(t, "the new version", 30*time.Second, func() error {
				return shows("http://127.0.0.1:30080/info", fmt.Sprintf(`"version":"%d"`, version))
			})
			s.untouched(t, map[string]map[string]string{"redis": redis})
			see(t, get(t, "http://127.0.0.1:30080/messages"), "first")
		})
	}
}

// kill ends the processes of programs of this cluster, and waits until they are gone.
func (s *suite) kill(t *testing.T, programs ...string) {
	t.Helper()
	var status struct {
		Processes []struct {
			Name string
			PIDs []int
		}
	}
	if err := json.Unmarshal([]byte(must(t)(s.Verb(t.Context(), "status", "-o", "json"))), &status); err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, p := range status.Processes {
		for _, pid := range p.PIDs {
			if !slices.Contains(programs, p.Name) {
				continue
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			killed++
			eventually(t, p.Name+" to be gone", 10*time.Second, func() error {
				// Its files are closed, and its locks free, once no thread is left but a first one that is a zombie.
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				if err != nil {
					return nil
				}
				threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
				if _, state, _ := strings.Cut(string(stat), ") "); err != nil || len(threads) > 1 || state[0] != 'Z' {
					return fmt.Errorf("process %d is in state %.1s with %d threads", pid, state, len(threads))
				}
				return nil
			})
		}
	}
	if killed < len(programs) {
		t.Fatalf("not all of %v run: %+v", programs, status)
	}
}

// containers are the ids of a Deployment's containers with how often each was restarted.
func (s *suite) containers(t *testing.T, app string) map[string]string {
	t.Helper()
	out := s.kubectl(t, "get", "pods", "-l", "app="+app, "-o",
		`jsonpath={range .items[*]}{.metadata.name}{" "}{.status.containerStatuses[0].containerID}{" "}{.status.containerStatuses[0].restartCount}{"\n"}{end}`)
	ids := map[string]string{}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 3 {
			ids[fields[0]] = fmt.Sprintf("%s, %s restarts", fields[1], fields[2])
		}
	}
	return ids
}

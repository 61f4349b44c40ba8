// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// follow starts a command that goes on, and returns the lines that it prints. It ends with the test.
func (s *suite) follow(t *testing.T, args ...string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.Command(ctx, "kubectl", args...)
	in, out := io.Pipe()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed at the end
		_ = out.Close()
	}()
	t.Cleanup(func() {
		cancel()
		for range lines { // until it has ended
		}
		<-ended
	})
	return lines
}

// await takes lines until one matches.
func await(t *testing.T, lines <-chan string, pattern string, within time.Duration) []string {
	t.Helper()
	var seen []string
	timeout := time.After(within)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("no line matched %s in %q", pattern, seen)
			}
			seen = append(seen, line)
			if match := regexp.MustCompile(pattern).FindStringSubmatch(line); match != nil {
				return match
			}
		case <-timeout:
			t.Fatalf("no line matched %s within %v in %q", pattern, within, seen)
		}
	}
}

// kubectlVerbs uses the guestbook with every verb of kubectl that people know.
func (s *suite) kubectlVerbs(t *testing.T) {
	t.Run("logs", func(t *testing.T) {
		see(t, s.kubectl(t, "logs", "deploy/web"), "guestbook 1 listens on :8080")
		lines := s.follow(t, "logs", "-f", "tools", "--tail=1")
		await(t, lines, `^line \d+$`, 10*time.Second)
		await(t, lines, `^line \d+$`, 10*time.Second)
	})
	t.Run("exec", func(t *testing.T) {
		if out := s.kubectl(t, "exec", "tools", "--", "sh", "-c", "echo out; exit 0"); out != "out" {
			t.Errorf("got %q", out)
		}
		if out, err := s.Kubectl(t.Context(), "", "exec", "tools", "--", "sh", "-c", "exit 3"); err == nil || !strings.Contains(out, "exit code 3") {
			t.Errorf("exit code: %v, %s", err, out)
		}
		if out, err := s.Kubectl(t.Context(), "typed\n", "exec", "-i", "tools", "--", "cat"); err != nil || strings.TrimSpace(out) != "typed" {
			t.Errorf("stdin: %v, %s", err, out)
		}
		// script gives kubectl the terminal that -t asks for.
		cmd := s.Command(t.Context(), "script", "-qec", "kubectl exec -it tools -- tty", "/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("with a terminal: %v\n%s", err, out)
		}
		see(t, string(out), "/dev/pts/")
	})
	t.Run("attach", func(t *testing.T) {
		await(t, s.follow(t, "attach", "tools"), `^line \d+$`, 10*time.Second)
	})
	t.Run("port-forward", func(t *testing.T) {
		lines := s.follow(t, "port-forward", "service/web", ":80")
		port := await(t, lines, `Forwarding from 127\.0\.0\.1:(\d+)`, 10*time.Second)[1]
		for range 3 {
			see(t, get(t, "http://127.0.0.1:"+port+"/messages"), "first")
		}
	})
	t.Run("cp", func(t *testing.T) {
		dir := t.TempDir()
		from, back := filepath.Join(dir, "from"), filepath.Join(dir, "back")
		text := strings.Repeat("some text to carry over\n", 10000)
		if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.kubectl(t, "cp", from, "tools:/tmp/there")
		s.kubectl(t, "cp", "tools:/tmp/there", back)
		if got, err := os.ReadFile(back); err != nil || string(got) != text {
			t.Errorf("%d bytes came back of %d: %v", len(got), len(text), err)
		}
	})
	t.Run("describe", func(t *testing.T) {
		node := s.kubectl(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
		see(t, s.kubectl(t, "describe", "pod", "tools"), "Successfully assigned default/tools to "+node, "Created", "Started", "QoS Class")
		see(t, s.kubectl(t, "describe", "deploy", "web"), "ScalingReplicaSet", "2 available")
		see(t, s.kubectl(t, "describe", "node"), "Allocatable", "default", "web-")
		see(t, s.kubectl(t, "describe", "pvc", "redis-data"), "ProvisioningSucceeded")
	})
	t.Run("get -w", func(t *testing.T) {
		lines := s.follow(t, "get", "deploy", "web", "-w", "--no-headers")
		await(t, lines, `^web\s+2/2`, 10*time.Second)
		s.kubectl(t, "scale", "deploy/web", "--replicas=3")
		await(t, lines, `^web\s+3/3`, 60*time.Second)
		s.kubectl(t, "scale", "deploy/web", "--replicas=2")
		await(t, lines, `^web\s+2/2`, 60*time.Second)
	})
	t.Run("set image and rollout undo", func(t *testing.T) {
		for _, step := range []struct {
			version string
			args    []string
		}{
			{"2", []string{"set", "image", "deploy/web", "web=registry.hivemind.local/guestbook-web:2"}},
			{"1", []string{"rollout", "undo", "deploy/web"}},
		} {
			s.kubectl(t, step.args...)
			s.kubectl(t, "rollout", "status", "deploy/web", "--timeout=120s")
			eventually(t, "answers of version "+step.version+" alone", 30*time.Second, func() error {
				for range 5 {
					if err := shows("http://127.0.0.1:30080/info", `"version":"`+step.version+`"`); err != nil {
						return err
					}
				}
				return nil
			})
		}
		see(t, s.kubectl(t, "rollout", "history", "deploy/web"), "REVISION", "2", "3")
	})
	t.Run("explain and api-resources", func(t *testing.T) {
		see(t, s.kubectl(t, "explain", "deployment.spec.strategy"), "FIELDS", "rollingUpdate")
		see(t, s.kubectl(t, "api-resources"), "persistentvolumeclaims", "deployments", "endpointslices", "storageclasses")
	})
	t.Run("apply --server-side", func(t *testing.T) {
		config := func(value string) string {
			return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned}\ndata: {k: " + value + "}\n"
		}
		if _, err := s.Kubectl(t.Context(), config("a"), "apply", "--server-side", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Kubectl(t.Context(), config("b"), "apply", "--server-side", "--field-manager=other", "-f", "-"); err == nil {
			t.Errorf("another manager changed the field:\n%s", out)
		} else {
			see(t, out, "conflict", ".data.k")
		}
		if _, err := s.Kubectl(t.Context(), config("b"), "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		see(t, s.kubectl(t, "get", "configmap", "owned", "-o", "yaml", "--show-managed-fields"), "manager: other", "operation: Apply")
	})
	t.Run("delete", func(t *testing.T) {
		s.kubectl(t, "delete", "pod/tools", "configmap/owned")
		if out, err := s.Kubectl(t.Context(), "", "get", "pod", "tools"); err == nil {
			t.Errorf("it is still there:\n%s", out)
		} else {
			see(t, out, `Error from server (NotFound): pods "tools" not found`)
		}
	})
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

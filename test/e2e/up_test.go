// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/hack/images/build"
	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/registry"
)

// others is somebody's kubeconfig before there was a cluster.
const others = `apiVersion: v1
kind: Config
current-context: work
clusters:
- name: work
  cluster: {server: "https://work.example:6443"}
users:
- name: me
  user: {token: secret}
contexts:
- name: work
  context: {cluster: work, user: me, namespace: mine}
`

func (s *suite) up(t *testing.T) {
	if err := os.WriteFile(s.Kubeconfig, []byte(others), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refusals(t)
	t.Log(must(t)(s.Up(t.Context())))
	see(t, must(t)(s.Up(t.Context())), "already runs")
	for host, r := range map[string]*registry.Registry{build.Public: s.public, build.Private: s.private} {
		if err := r.MirrorFor(s.Config.DataDir, host); err != nil {
			t.Fatal(err)
		}
	}

	var status struct {
		Running, Ready bool
		Components     []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(must(t)(s.Verb(t.Context(), "status", "-o", "json"))), &status); err != nil {
		t.Fatal(err)
	}
	if !status.Running || !status.Ready || len(status.Components) == 0 {
		t.Errorf("status %+v", status)
	}

	eventually(t, "a ready node", 10*time.Second, func() error {
		out, err := s.Kubectl(t.Context(), "", "get", "nodes", "-o", "wide", "--no-headers")
		if err != nil {
			return err
		}
		return contains(out, " Ready ", "containerd://")
	})
	see(t, s.kubectl(t, "version"), "Server Version: v1.")
	// A pod that checks a token is sent for the keys to where pods can go.
	ip := s.kubectl(t, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	see(t, s.kubectl(t, "get", "--raw", "/.well-known/openid-configuration"), `"jwks_uri":"https://`+net.JoinHostPort(ip, strconv.Itoa(s.Config.API.Port))+`/openid/v1/jwks"`)

	config := s.kubectl(t, "config", "view", "--raw", "-o", "json")
	see(t, config, "https://work.example:6443", "secret", "127.0.0.1:"+strconv.Itoa(s.Config.API.Port))
	if contexts := strings.Fields(s.kubectl(t, "config", "get-contexts", "-o", "name")); len(contexts) != 2 {
		t.Errorf("contexts %v, want two", contexts)
	}
	if out, err := s.Verb(t.Context(), "kubeconfig"); err != nil || !strings.Contains(out, "client-key-data") {
		t.Errorf("hivemind kubeconfig: %v\n%s", err, out)
	}
}

// refusals are what `up` must say, and leave as it was.
func (s *suite) refusals(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T)
		command func(ctx context.Context) *exec.Cmd
		says    string
	}{
		{"a port that is taken", func(t *testing.T) {
			l, err := net.Listen("tcp", ":"+strconv.Itoa(s.Config.API.Port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		}, nil, strconv.Itoa(s.Config.API.Port)},
		{"a data directory of a newer version", func(t *testing.T) {
			if err := os.MkdirAll(s.Config.DataDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Config.Path("version"), []byte("999 v9.9.9\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.RemoveAll(s.Config.DataDir); err != nil {
					t.Error(err)
				}
			})
		}, nil, "v9.9.9"},
		{"somebody who is not root", func(*testing.T) {}, func(ctx context.Context) *exec.Cmd {
			return s.Command(ctx, "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", s.program(t)}, s.UpArgs("-d")...)...)
		}, "root"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.prepare(t)
			cmd := s.Command(t.Context(), s.program(t), s.UpArgs("-d")...)
			if test.command != nil {
				cmd = test.command(t.Context())
			}
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); err == nil || code != 1 {
				t.Errorf("exit code %d, %v", code, err)
			}
			see(t, string(out), test.says)
			if _, err := os.Stat(s.Config.Path("etcd")); err == nil {
				t.Error("there is a half-made cluster now")
			}
		})
	}
}

// program is a copy of bin/hivemind that everybody may run.
func (s *suite) program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(os.TempDir(), "hivemind-"+s.Config.ID())
	if _, err := os.Stat(file); err == nil {
		return file
	}
	data, err := os.ReadFile(filepath.Join(s.Root, "bin", "hivemind"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	})
	return file
}

// beside starts another cluster on the machine, uses it, and removes it: the first must not notice.
func (s *suite) beside(t *testing.T) {
	dir := t.TempDir()
	other, err := cluster.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	other.Kubeconfig = s.Kubeconfig
	other.Config.Network.PodCIDR, other.Config.Network.ServiceCIDR = "10.146.0.0/16", "10.147.0.0/16"
	t.Cleanup(func() {
		if _, err := other.Verb(context.Background(), "reset", "--yes"); err != nil {
			t.Error(err)
		}
	})
	mine := s.kubectl(t, "config", "current-context")
	must(t)(other.Up(t.Context()))
	theirs := s.kubectl(t, "config", "current-context")
	if mine == theirs {
		t.Fatalf("both clusters are context %s", mine)
	}
	if err := s.public.MirrorFor(other.Config.DataDir, build.Public); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Kubectl(t.Context(), tools, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, "wait", "--for=condition=Ready", "pod/tools", "--timeout=60s")
	see(t, s.kubectl(t, "exec", "tools", "--", "nslookup", "kubernetes.default.svc.cluster.local"), "10.147.0.1")
	s.kubectl(t, "config", "use-context", mine)
	see(t, s.kubectl(t, "get", "pods"), "web-")
	see(t, get(t, "http://127.0.0.1:30080/messages"), "first")

	must(t)(other.Verb(t.Context(), "reset", "--yes"))
	see(t, get(t, "http://127.0.0.1:30080/messages"), "first")
	if contexts := s.kubectl(t, "config", "get-contexts", "-o", "name"); strings.Contains(contexts, theirs) || !strings.Contains(contexts, mine) {
		t.Errorf("contexts\n%s", contexts)
	}
	if now := s.kubectl(t, "config", "current-context"); now != mine {
		t.Errorf("the current context is %s now, it was %s", now, mine)
	}
}

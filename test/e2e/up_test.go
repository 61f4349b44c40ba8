// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hivemind-project/hivemind/hack/images/build"
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
	t.Run("refuses a port that is taken", func(t *testing.T) {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(s.Config.API.Port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out, err := s.Up(t.Context())
		if err == nil {
			t.Fatalf("a cluster came up on a port that was taken:\n%s", out)
		}
		see(t, out, strconv.Itoa(s.Config.API.Port))
		if _, err := os.Stat(s.Config.Path("etcd")); err == nil {
			t.Error("there is a half-made cluster now")
		}
	})

	t.Log(must(t)(s.Up(t.Context())))
	see(t, must(t)(s.Up(t.Context())), "already runs")
	for host, r := range map[string]interface {
		MirrorFor(dataDir, host string) error
	}{build.Public: s.public, build.Private: s.private} {
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

	config := s.kubectl(t, "config", "view", "--raw", "-o", "json")
	see(t, config, "https://work.example:6443", "secret", "127.0.0.1:"+strconv.Itoa(s.Config.API.Port))
	if contexts := strings.Fields(s.kubectl(t, "config", "get-contexts", "-o", "name")); len(contexts) != 2 {
		t.Errorf("contexts %v, want two", contexts)
	}
	if out, err := s.Verb(t.Context(), "kubeconfig"); err != nil || !strings.Contains(out, "client-key-data") {
		t.Errorf("hivemind kubeconfig: %v\n%s", err, out)
	}
}

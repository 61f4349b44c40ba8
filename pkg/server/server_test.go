// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/agent/simulation"
	"github.com/hivemind-project/hivemind/pkg/component"
)

// cluster is a server in this process, and an administrator's client of it over TLS.
type cluster struct {
	*kubernetes.Clientset
	server *Server
	config *rest.Config
	stop   func()
}

// startCluster starts a server over dir, which may hold what an earlier one left. configure changes its configuration.
func startCluster(t *testing.T, dir string, configure ...func(*config.Config)) *cluster {
	t.Helper()
	c, listener := newConfig(t, dir)
	for _, change := range configure {
		change(c)
	}
	config.SetDefaults(c)
	if errs := config.Validate(c); len(errs) > 0 {
		t.Fatal(errs)
	}
	s := New(c, Options{Listener: listener})
	parts := s.Components()
	if c.Runtime == config.RuntimeSimulated {
		nodes := simulation.New(c, simulation.Options{Upstream: func() (simulation.Upstream, error) {
			ids := s.Identities()
			return simulation.Upstream{Client: s.NodeClient, Controller: s.ControllerClient("node-controller"), Informers: s.Informers(),
				Serving: ids.KubeletServing.TLS(), ClientCA: ids.CA.Cert}, nil
		}})
		s.DialNodes(nodes.Dial)
		parts = append(parts, nodes.Components()...)
	}
	group := component.NewGroup(parts...)
	if err := group.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := group.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	admin, err := clientcmd.BuildConfigFromFlags("", c.AdminKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	admin.QPS = -1
	return &cluster{kubernetes.NewForConfigOrDie(admin), s, admin, stop}
}

// newConfig is the configuration of a server alone, and the port that it serves on.
func newConfig(t *testing.T, dir string) (*config.Config, net.Listener) {
	t.Helper()
	c := &config.Config{DataDir: dir, Roles: []string{config.RoleServer}}
	c.Node.Name, c.Node.IP = "test", "127.0.0.1"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.API.Port = listener.Addr().(*net.TCPAddr).Port
	c.Storage.UnsafeNoFsync = true
	config.SetDefaults(c)
	return c, listener
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return startCluster(t, filepath.Join(t.TempDir(), "hivemind"))
}

// eventually waits for what a controller or a watch brings about.
func eventually(t *testing.T, what string, done func() (bool, error)) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		ok, err := done()
		if ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("still waiting for %s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

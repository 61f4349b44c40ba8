// SPDX-License-Identifier: Apache-2.0

//go:build upstream

package stock_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/hivemind-project/hivemind/test/stock"
)

// TestControlPlane runs the API server, twice over the same data, and the controllers the second time.
func TestControlPlane(t *testing.T) {
	bin := build(t, "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
	o := stock.Options{Dir: t.TempDir(), BinDir: bin}
	first := start(t, o)
	want, err := stock.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := client(t, first).Discovery().ServerVersion()
	if err != nil || got.GitVersion != want {
		t.Errorf("the server's version is %v (%v), want %s", got, err, want)
	}
	if _, err := client(t, first).CoreV1().ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if first.ReadyAfter() <= 0 {
		t.Errorf("ready after %v", first.ReadyAfter())
	}
	if names := first.Processes(); len(names) != 2 || names["etcd"] == 0 || names["kube-apiserver"] == 0 {
		t.Errorf("processes %v, want etcd and kube-apiserver", names)
	}
	stop(t, first)
	for name, pid := range first.Processes() {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("%s (%d) after Stop: %v, want that there is no such process", name, pid, err)
		}
	}

	o.Controllers, o.Scheduler, o.ClientQPS = true, true, 1000
	second := start(t, o)
	if _, err := client(t, second).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if names := second.Processes(); len(names) != 4 {
		t.Errorf("processes %v, want four", names)
	}
	serviceAccounts := client(t, second).CoreV1().ServiceAccounts("default")
	events, err := serviceAccounts.Watch(t.Context(), metav1.SingleObject(metav1.ObjectMeta{Name: "default"}))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	select {
	case <-events.ResultChan():
	case <-time.After(time.Minute):
		t.Errorf("the controllers made no ServiceAccount in a minute: %v", second.Err())
	}

	if err := syscall.Kill(second.Processes()["kube-scheduler"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for second.Err() == nil && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if err := second.Err(); err == nil || !strings.Contains(err.Error(), "kube-scheduler has ended (signal: killed)") {
		t.Errorf("after the scheduler was killed: %v", err)
	}
}

// TestBrokenArgument: a program that does not start is one error that says why.
func TestBrokenArgument(t *testing.T) {
	bin := build(t, "etcd", "kube-apiserver")
	c, err := stock.Start(t.Context(), stock.Options{Dir: t.TempDir(), BinDir: bin, APIServerArgs: []string{"--no-such-flag"}})
	if err == nil {
		stop(t, c)
		t.Fatal("it started")
	}
	for _, want := range []string{"kube-apiserver has ended (exit status 1)", "unknown flag: --no-such-flag"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
}

func build(t *testing.T, names ...string) string {
	t.Helper()
	bin, err := stock.Build(t.Context(), os.Stderr, names...)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func start(t *testing.T, o stock.Options) *stock.ControlPlane {
	t.Helper()
	c, err := stock.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

// stop may be called again: it stops what still runs.
func stop(t *testing.T, c *stock.ControlPlane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func client(t *testing.T, c *stock.ControlPlane) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hivemind-project/hivemind/apis/config"
)

// start starts a cluster that the tests in this file need no nodes for.
func start(t *testing.T) *Env {
	t.Helper()
	return Start(t, Options{Nodes: NoNodes})
}

func clientset(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// eventually waits for what a controller brings about.
func eventually(t *testing.T, what string, done func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := done()
		if ok {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("still waiting for %s; last error: %v", what, err)
		}
	}
}

func TestNewIsUsableWithoutATest(t *testing.T) {
	env, err := New(Options{Nodes: NoNodes})
	if err != nil {
		t.Fatal(err)
	}
	version, err := clientset(t, env.Config()).Discovery().ServerVersion()
	if err != nil {
		t.Error(err)
	} else if version.Major != "1" {
		t.Errorf("version %v", version)
	}
	for range 2 {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(env.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if _, err := env.User(t.Context(), User{Name: "late"}); err == nil || err.Error() != "make user late: the cluster has been stopped" {
		t.Errorf("User() after Stop(): %v", err)
	}
}

// Ten clusters at once, each with an object of the same name, see nothing of each other.
func TestClustersAreIndependent(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			env, err := New(Options{Nodes: NoNodes})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() {
				if err := env.Stop(); err != nil {
					t.Error(err)
				}
			}()
			maps := clientset(t, env.Config()).CoreV1().ConfigMaps("default")
			m := configMap("mine")
			m.Data = map[string]string{"cluster": strconv.Itoa(i)}
			if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
				t.Errorf("cluster %d: %v", i, err)
				return
			}
			list, err := maps.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=mine"})
			if err != nil || len(list.Items) != 1 || list.Items[0].Data["cluster"] != strconv.Itoa(i) {
				t.Errorf("cluster %d: %v, %v", i, list, err)
			}
		})
	}
	wg.Wait()
}

func TestNodesAreAsAskedFor(t *testing.T) {
	for _, tt := range []struct {
		options Options
		want    string
	}{
		{Options{}, "node=Ready"},
		{Options{Nodes: NoNodes}, ""},
		{Options{Nodes: 3, Simulated: config.Simulated{Zones: 2, CPU: "4"}}, "node=Ready,zone-0,4 node-1=Ready,zone-1,4 node-2=Ready,zone-0,4"},
	} {
		nodes, err := clientset(t, Start(t, tt.options).Config()).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range nodes.Items {
			text := n.Name + "="
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					text += "Ready"
				}
			}
			if zone := n.Labels[corev1.LabelTopologyZone]; zone != "" {
				text += "," + zone + "," + n.Status.Capacity.Cpu().String()
			}
			got = append(got, text)
		}
		if joined := strings.Join(got, " "); joined != tt.want {
			t.Errorf("nodes %s, want %s", joined, tt.want)
		}
	}
}

// A certificate of one cluster is worth nothing in another.
func TestClustersDoNotTrustEachOther(t *testing.T) {
	one, two := start(t), start(t)
	stranger := one.Config()
	stranger.Host, stranger.CAData = two.Config().Host, two.Config().CAData
	_, err := clientset(t, stranger).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsUnauthorized(err) {
		t.Errorf("an administrator of another cluster gets %v", err)
	}
}

func TestServesOnLoopbackAlone(t *testing.T) {
	host, err := url.Parse(start(t).Config().Host)
	if err != nil {
		t.Fatal(err)
	}
	if host.Hostname() != "127.0.0.1" {
		t.Errorf("it serves on %s", host)
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range interfaces {
		ip := a.(*net.IPNet).IP
		if ip.IsLoopback() || ip.To4() == nil {
			continue
		}
		if conn, err := net.Dial("tcp", net.JoinHostPort(ip.String(), host.Port())); err == nil {
			conn.Close()
			t.Errorf("it serves on %s, too", ip)
		}
	}
}

func TestKubeconfig(t *testing.T) {
	env := start(t)
	alice, err := env.User(t.Context(), User{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	path, err := env.WriteKubeconfig(alice)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, name string }{{env.Kubeconfig(), "kubernetes-admin"}, {path, "alice"}} {
		config, err := clientcmd.BuildConfigFromFlags("", tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := whoAmI(t, config).Username; got != tt.name {
			t.Errorf("%s is %s's, want %s's", tt.path, got, tt.name)
		}
	}
}

func TestConfigIsACopy(t *testing.T) {
	env := start(t)
	env.Config().Host = "elsewhere"
	if got := env.Config().Host; got == "elsewhere" {
		t.Error("what a caller does to its configuration is seen by others")
	}
}

func TestWrongOptions(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	notDir := filepath.Join(full, "precious")
	for _, tt := range []struct {
		options Options
		want    string
	}{
		{Options{Nodes: -2}, "Options.Nodes is -2: give a number of nodes, or NoNodes"},
		{Options{Dir: full}, "Options.Dir " + full + " is not empty: give a directory that is, since Stop removes it"},
		{Options{Dir: notDir}, "make Options.Dir: mkdir " + notDir + ": not a directory"},
		{Options{Simulated: config.Simulated{PullDelay: "soon"}}, `Options: simulated.pullDelay: Invalid value: "soon": must be a duration, such as 1.5s or 200ms`},
		{Options{CRDs: CRDs{Paths: []string{"no/such"}}}, "read Options.CRDs: stat no/such: no such file or directory"},
		{Options{Webhooks: Webhooks{Paths: []string{"no/such"}}}, "read Options.Webhooks: stat no/such: no such file or directory"},
	} {
		_, err := New(tt.options)
		if err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
	if _, err := os.Stat(notDir); err != nil {
		t.Errorf("a directory that was not empty has been touched: %v", err)
	}
}

// failing is a test that fails when the cluster does not start.
type failing struct {
	*testing.T
	fatal string
}

func (f *failing) Fatalf(format string, args ...any) { f.fatal = fmt.Sprintf(format, args...) }

func TestStartThatFailsSaysWhy(t *testing.T) {
	f := &failing{T: t}
	Start(f, Options{StartTimeout: time.Nanosecond})
	first, _, _ := strings.Cut(f.fatal, "\n")
	const want = "testenv: the cluster did not start: start storage: open the storage in "
	if !strings.HasPrefix(first, want) || !strings.HasSuffix(first, ": not ready within 1ns (Options.StartTimeout)") {
		t.Errorf("got  %s\nwant %s…: not ready within 1ns (Options.StartTimeout)", first, want)
	}
}

// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// clientgos is the program older/clientgo, compiled with each client-go, and the version that has to be in it.
var clientgos = []struct{ name, program, version string }{
	{"newest", "build/clients/clientgo", "v0.37."},
	{"older", "build/clients/clientgo-older", "v0.35."},
}

// cborFirst are client-go's gates that make it write and ask for CBOR.
var cborFirst = []string{"KUBE_FEATURE_ClientsAllowCBOR=true", "KUBE_FEATURE_ClientsPreferCBOR=true"}

func TestClientGo(t *testing.T) {
	t.Parallel()
	for _, v := range clientgos {
		for _, check := range []struct {
			name string
			env  []string
		}{
			{"informers", []string{"KUBE_FEATURE_WatchListClient=true"}},
			{"informers", []string{"KUBE_FEATURE_WatchListClient=false"}},
			{"content", cborFirst},
			{"discovery", nil}, {"dynamic", nil}, {"conflicts", nil}, {"apply", nil}, {"pages", nil}, {"events", nil}, {"streams", nil},
		} {
			t.Run(v.name+"/"+check.name, func(t *testing.T) {
				t.Parallel()
				cmd := clientgo(t, v.program, namespace(t), check.name)
				cmd.Env = append(cmd.Env, check.env...)
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), "client-go "+v.version) {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
		t.Run(v.name+"/leader election", func(t *testing.T) {
			t.Parallel()
			election(t, v.program)
		})
	}
}

// election lets two take part: one leads until it is killed, the other takes over once the lease has run out, and a third at once when that
// one gives the lease back.
func election(t *testing.T, program string) {
	ns := namespace(t)
	join := func(name string) *follower { return inBackground(t, clientgo(t, program, ns, "elect", "boss", name)) }
	first := join("first")
	await(t, first, "^leading$")
	second := join("second")
	await(t, second, "^leader is first$")
	first.end()
	await(t, second, "^leading$")
	lease, err := shared.client.CoordinationV1().Leases(ns).Get(t.Context(), "boss", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s := lease.Spec; s.HolderIdentity == nil || *s.HolderIdentity != "second" || s.LeaseTransitions == nil || *s.LeaseTransitions != 1 {
		t.Errorf("the lease is %+v", s)
	}
	third := join("third")
	await(t, third, "^leader is second$")
	if err := second.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, second, "^stopped leading$")
	await(t, third, "^leading$")
}

// TestServerKilled ends hivemindd in the middle of everything: watches go on from where they were, with nothing lost and nothing doubled.
func TestServerKilled(t *testing.T) {
	if shared.dir == "" {
		t.Skip("HIVEMIND_TEST_KUBECONFIG names a server that is another's to kill")
	}
	ns := namespace(t)
	objects := shared.client.CoreV1().ConfigMaps(ns)
	create := func(name string) {
		t.Helper()
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"set": "watched"}}}
		if _, err := objects.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("first")
	watchers := map[string]*follower{}
	for _, v := range clientgos {
		watchers[v.name] = inBackground(t, clientgo(t, v.program, ns, "watch"))
		await(t, watchers[v.name], "^watching$")
	}
	create("before")
	kill(t)
	if err := shared.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	create("after")
	if err := objects.Delete(t.Context(), "before", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create("last")
	for version, f := range watchers {
		for _, who := range []string{"watch ADDED", "informer added"} {
			for !strings.Contains(f.String(), who+" last\n") {
				await(t, f, "last")
			}
		}
		for _, want := range []string{"watch ADDED before", "watch ADDED after", "watch DELETED before", "informer added before", "informer added after", "informer deleted before"} {
			if n := strings.Count(f.String(), want+"\n"); n != 1 {
				t.Errorf("%s: %d times %q in\n%s", version, n, want, f)
			}
		}
	}
}

// kill ends hivemindd without a warning.
func kill(t *testing.T) {
	t.Helper()
	var status struct {
		Processes []struct {
			Name string
			PIDs []int
		}
	}
	out, err := exec.Command(filepath.Join(shared.root, "bin", "hivemind"), "status", "-o", "json", "--data-dir", shared.data()).Output()
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Processes {
		if p.Name == "hivemindd" && len(p.PIDs) == 1 {
			if err := syscall.Kill(p.PIDs[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("hivemind status does not name one process hivemindd:\n%s", out)
}

// clientgo is a run of the program with a check.
func clientgo(t *testing.T, program, namespace string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(shared.root, program), append([]string{"-namespace", namespace}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+shared.kubeconfig)
	return cmd
}

// namespace makes one for a test, and has it go with the test.
func namespace(t *testing.T) string {
	t.Helper()
	name := strings.Trim(strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name())), "-")
	if err := createNamespace(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tell(name))
		}
		if err := shared.client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return name
}

// inBackground starts a program that goes on until the test ends.
func inBackground(t *testing.T, cmd *exec.Cmd) *follower {
	t.Helper()
	f, err := startFollower(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.end)
	return f
}

// await waits for a line.
func await(t *testing.T, f *follower, pattern string) {
	t.Helper()
	if _, err := f.wait(regexp.MustCompile("(?m)" + pattern)); err != nil {
		t.Fatal(err)
	}
}

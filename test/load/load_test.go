// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestCheckPhases(t *testing.T) {
	for _, test := range []struct{ phases, want string }{
		{"configmaps,watches,deployments", ""},
		{strings.Join(Phases(), ","), ""},
		{"pods,get", `phase "get": there is none of that name; there are configmaps, pods, gets`},
		{"gets,pods", `phase "gets" works on the objects of "pods": put that before it`},
		{"pods,refill", `phase "refill" works on the objects of "deletes"`},
		{"", `phase "": there is none of that name`},
	} {
		err := CheckPhases(strings.Split(test.phases, ","))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("CheckPhases(%s): %v, want %q", test.phases, err, test.want)
		}
	}
}

func TestSizes(t *testing.T) {
	for want, change := range map[string]func(*Sizes){
		"":                                        func(*Sizes) {},
		"pods: 0: it must be 1 or more":           func(s *Sizes) { s.Pods = 0 },
		"eventRate: 0: it must be more than 0":    func(s *Sizes) { s.EventRate = 0 },
		"deployments: -1: it must be 1 or more":   func(s *Sizes) { s.Deployments = []int{3, -1} },
		"deletes: 6000: there are only 5000 pods": func(s *Sizes) { s.Deletes = 6000 },
	} {
		s := DefaultSizes()
		change(&s)
		got := ""
		if err := s.Check(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Check: %q, want %q", got, want)
		}
	}
}

func TestFlags(t *testing.T) {
	s := DefaultSizes()
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	s.Flags(flags)
	want := DefaultSizes()
	want.Pods, want.Deployments = 7, []int{1, 20}
	if err := flags.Parse([]string{"-pods", "7", "-deployments", "1,20"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
	if err := flags.Parse([]string{"-deployments", "1,x"}); err == nil || !strings.Contains(err.Error(), `"x": write numbers`) {
		t.Errorf("-deployments 1,x: %v", err)
	}
}

func TestSeries(t *testing.T) {
	s := series{total: 2 * time.Second, errs: []error{errors.New("first"), errors.New("second")}}
	for i := 200; i > 0; i-- {
		s.took = append(s.took, time.Duration(i)*time.Millisecond)
	}
	got, err := s.result("creates")
	if err != nil {
		t.Fatal(err)
	}
	want := Result{Name: "creates", Operations: 200, Errors: 2, FirstError: "first", Seconds: 2, PerSecond: 100, P50: 100, P90: 180, P99: 198, Max: 200}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	got, err = series{took: []time.Duration{time.Second}}.result("one")
	if err != nil || got.P50 != 1000 || got.P99 != 1000 || got.Max != 1000 || got.PerSecond != 0 {
		t.Errorf("of one latency: %+v, %v", got, err)
	}
	_, err = series{errs: s.errs}.result("creates")
	if err == nil || err.Error() != "all 2 requests failed, the first: first" {
		t.Errorf("of failures alone: %v", err)
	}
}

func TestAccount(t *testing.T) {
	r := Result{Operations: 90, Errors: 10}
	r.account(map[string]Usage{"a": {CPU: time.Second, RSS: 10}, "b": {CPU: 0, RSS: 5}}, map[string]Usage{"a": {CPU: 2 * time.Second, RSS: 20}, "b": {CPU: time.Second / 2, RSS: 6}})
	want := Result{Operations: 90, Errors: 10, CPU: 15, Processes: map[string]ProcessResult{"a": {CPUSeconds: 1, RSSMiB: 20}, "b": {CPUSeconds: 0.5, RSSMiB: 6}}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("account (-want +got):\n%s", diff)
	}
	if r.RSS() != 26 {
		t.Errorf("RSS = %v, want 26", r.RSS())
	}
	if line := r.String(); !strings.Contains(line, "10 FAILED") {
		t.Errorf("the line %q hides what failed", line)
	}
}

func TestParseUsage(t *testing.T) {
	const status = "Name:\tx\nVmHWM:\t  999999 kB\nVmRSS:\t  204800 kB\n"
	const stat = "42 (a) b) S 1 42 42 0 -1 4194304 5000 0 10 0 150 25 0 0 20 0 9 0 100 0 0"
	got, err := parseUsage(status, stat)
	if want := (Usage{CPU: 1750 * time.Millisecond, RSS: 200}); err != nil || got != want {
		t.Errorf("parseUsage = %+v, %v, want %+v", got, err, want)
	}
	if _, err := parseUsage("Name:\tx\nState:\tZ (zombie)\n", stat); err == nil {
		t.Error("a process that has ended has a usage")
	}
	if u, err := Measure(os.Getpid()); err != nil || u.RSS <= 0 {
		t.Errorf("Measure(this process) = %+v, %v", u, err)
	}
}

// TestPhases runs each phase over a server that is simulated, all but the one that needs a connection.
func TestPhases(t *testing.T) {
	server := fake.NewClientset()
	server.PrependReactor("create", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
		d := action.(clienttesting.CreateAction).GetObject().(*appsv1.Deployment)
		go func() { // as the controllers would
			for i := range int(*d.Spec.Replicas) {
				pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", d.Name, i), Labels: d.Spec.Template.Labels}}
				if _, err := server.CoreV1().Pods("d").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		}()
		return false, nil, nil
	})
	l := &Load{
		o: Options{Timeout: time.Minute, Processes: map[string]int{"this": os.Getpid()}, Sizes: Sizes{
			ConfigMaps: 20, Pods: 10, Gets: 30, Lists: 2, Patches: 15, Watchers: 3, Events: 5, EventRate: 1000, Deployments: []int{4, 7}, Deletes: 6}},
		clients:    []kubernetes.Interface{server, server, server},
		namespaces: map[string]string{"configmaps": "c", "pods": "p", "watches": "w", "deployments": "d"},
		random:     rand.New(rand.NewPCG(1, 2)),
	}
	want := map[string]int{CreateConfigMaps: 20, CreatePods: 10, GetPods: 30, ListPods: 2, PatchPods: 15, WatchEach: 15, WatchLast: 5,
		Deployment(4): 4, Deployment(7): 7, DeletePods: 6, Refill: 6}
	got := map[string]int{}
	for _, name := range Phases() {
		if name == "jsonlists" {
			continue
		}
		results, err := l.Run(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			got[r.Name] = r.Operations
			if r.Errors != 0 || r.Max <= 0 || r.P50 > r.P99 || r.Name != WatchLast && r.RSS() <= 0 {
				t.Errorf("%+v", r)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	pods, err := server.CoreV1().Pods("p").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 10 {
		t.Errorf("after all phases there are %d Pods (%v), want 10", len(pods.Items), err)
	}
}

// TestFailures: requests that fail are counted, and a phase where all do is an error.
func TestFailures(t *testing.T) {
	server := fake.NewClientset()
	var refuse func(name string) bool
	server.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		name := action.(clienttesting.CreateAction).GetObject().(*v1.Pod).Name
		return refuse(name), nil, errors.New("refused")
	})
	l := &Load{o: Options{Timeout: time.Minute, Sizes: Sizes{Pods: 10, Lists: 1}}, clients: []kubernetes.Interface{server}, namespaces: map[string]string{"pods": "p"}}
	refuse = func(name string) bool { return name >= podName(7) }
	results, err := l.Run(t.Context(), "pods")
	if err != nil || results[0].Operations != 7 || results[0].Errors != 3 || results[0].FirstError != "refused" {
		t.Errorf("of ten requests that failed three times: %+v, %v", results, err)
	}
	if _, err := l.Run(t.Context(), "lists"); err == nil || !strings.Contains(err.Error(), "a list has 7 Pods, want 10") {
		t.Errorf("a list that lacks Pods: %v", err)
	}
	refuse = func(string) bool { return true }
	if _, err := l.Run(t.Context(), "pods"); err == nil || err.Error() != "phase pods: all 10 requests failed, the first: refused" {
		t.Errorf("of requests that all failed: %v", err)
	}
}

func TestFollow(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(*watch.FakeWatcher)
		seen int
		want string
	}{
		{"all", func(w *watch.FakeWatcher) { w.Add(configMap(0)); w.Add(configMap(1)) }, 2, ""},
		{"one of the system's between", func(w *watch.FakeWatcher) {
			w.Add(configMap(0))
			w.Add(&v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt"}})
			w.Add(configMap(1))
		}, 2, ""},
		{"one left out", func(w *watch.FakeWatcher) { w.Add(configMap(1)) }, 0, "the watch says ADDED config-00001, want ADDED config-00000"},
		{"twice", func(w *watch.FakeWatcher) { w.Add(configMap(0)); w.Add(configMap(0)) }, 1, "the watch says ADDED config-00000, want ADDED config-00001"},
		{"ended", func(w *watch.FakeWatcher) { w.Add(configMap(0)); w.Stop() }, 1, "the watch has ended"},
		{"an error", func(w *watch.FakeWatcher) { w.Error(&metav1.Status{Reason: metav1.StatusReasonExpired}) }, 0, "the watch says ERROR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := watch.NewFakeWithChanSize(5, false)
			test.send(w)
			times, err := follow(t.Context(), w, 2)
			if len(times) != test.seen || test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
				t.Errorf("follow saw %d (%v), want %d (%s)", len(times), err, test.seen, test.want)
			}
		})
	}
}

// TestBody: the end of an answer is when its last byte has come, not its first one.
func TestBody(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("first"))
		w.(http.Flusher).Flush()
		<-release
		w.Write([]byte(" last"))
	}))
	defer server.Close()
	b := &body{}
	response, err := (&http.Client{Transport: b.watch(http.DefaultTransport)}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadFull(response.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	close(release)
	if rest, err := io.ReadAll(response.Body); err != nil || string(rest) != " last" {
		t.Fatalf("the rest of the body is %q (%v)", rest, err)
	}
	if end := b.end(); end.Before(before) || end.After(time.Now()) {
		t.Errorf("the last byte came at %v, want %v or later, and not in the future", end, before)
	}
}

// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package hostile

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/hivemind-project/hivemind/test/cluster"
	"github.com/hivemind-project/hivemind/test/process"
	"github.com/hivemind-project/hivemind/test/stock"
)

// most is the resident memory, in MiB, that no step may bring hivemindd over.
const most = 400

var (
	full = flag.Bool("full", false, "send several times as much")
	// A server that answers otherwise than stock shows when the same steps ask stock.
	asStock = flag.Bool("stock", false, "ask stock kube-apiserver, to see what it answers; its memory is not bounded")
)

// suite is the server that all steps ask.
type suite struct {
	admin *rest.Config
	pid   int
	err   func() error // not nil where the server has ended
}

func TestHostile(t *testing.T) {
	s := start(t)
	s.calm(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"requests", requests},
		{"sprawling objects", sprawl},
		{"watches that nobody reads", idlers},
		{"a crowd that watches", crowd(500, 2500, 1)},
		{"a few that watch much", crowd(1000, 5000, 100)},
		{"lists of everything", listers},
		{"failing logins", strangers},
		{"stalling streams", stallers},
		{"hostile webhooks", hooks},
		{"endless webhooks", loops},
		{"hostile conversions", conversions},
		{"hostile servers of APIs", apiServices},
		{"many definitions", definitions},
		{"definitions with rules", rules},
		{"large objects", large},
		{"costly policies", policies},
	} {
		s.step(t, step.name, step.run)
	}
}

// start starts the server: hivemindd as the build left it, or stock.
func start(t *testing.T) *suite {
	root, err := cluster.ProjectRoot()
	if err != nil {
		t.Fatal(err)
	}
	if *asStock {
		bin, err := stock.Build(t.Context(), os.Stderr, "kube-apiserver", "etcd")
		if err != nil {
			t.Fatal(err)
		}
		p, err := stock.Start(t.Context(), stock.Options{Dir: t.TempDir(), BinDir: bin})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ended(t, p.Stop) })
		return &suite{p.RESTConfig(), p.Processes()["kube-apiserver"], p.Err}
	}
	program := os.Getenv("HIVEMINDD")
	if program == "" {
		program = filepath.Join(root, "build", "stage", "hivemindd")
	}
	p, err := Start(t.Context(), program, t.TempDir())
	if err != nil {
		t.Fatalf("%v (make build makes the program)", err)
	}
	t.Cleanup(func() {
		ended(t, p.Stop)
		if t.Failed() {
			log, err := os.ReadFile(p.Log())
			t.Logf("the end of the server's log: %s %v", process.LastLines(string(log), 20), err)
		}
	})
	return &suite{p.Admin(), p.PID(), p.Err}
}

func ended(t *testing.T, stop func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := stop(ctx); err != nil {
		t.Error(err)
	}
}

// step runs a step beside a bystander, whose requests must all succeed, and watches the server's memory.
func (s *suite) step(t *testing.T, name string, run func(*testing.T, *suite)) {
	t.Run(name, func(t *testing.T) {
		if err := Forget(s.pid); err != nil {
			t.Fatal(err)
		}
		bystander, err := Watch(context.WithoutCancel(t.Context()), s.admin)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		before := s.goroutines(t)
		defer func() {
			if !t.Failed() {
				s.settle(t, before)
			}
			took, failed := bystander.Stop()
			for i, err := range failed {
				if i < 5 {
					t.Errorf("a bystander's request: %v", err)
				}
			}
			if err := s.err(); err != nil {
				t.Fatal(err)
			}
			memory, err := ReadMemory(s.pid)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f s; resident: peak %.0f MiB, after %.0f MiB; bystander: %s", time.Since(begin).Seconds(), memory.Peak, memory.Now, latency(took))
			if memory.Peak > most && !*asStock {
				t.Errorf("the server's resident memory reached %.0f MiB, which must stay below %d", memory.Peak, most)
			}
		}()
		run(t, s)
	})
}

// mayStay is how many goroutines more a server may have after a step: those of what it builds when it is first needed, and of connections that wait to be
// used again. What a step leaves behind is a multiple of that.
const mayStay = 120

// goroutines is how many the server has.
func (s *suite) goroutines(t *testing.T) int {
	t.Helper()
	text, err := kubernetes.NewForConfigOrDie(s.admin).RESTClient().Get().AbsPath("/metrics").DoRaw(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the server does not say how many goroutines it has")
	return 0
}

// calm waits until the server has started what it starts when it is ready.
func (s *suite) calm(t *testing.T) {
	t.Helper()
	for last, same := 0, 0; same < 10; {
		now := s.goroutines(t)
		if same++; now > last+5 || now < last-5 {
			last, same = now, 0
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		}
	}
}

// settle waits until the server has let go what a step made it do.
func (s *suite) settle(t *testing.T, before int) {
	t.Helper()
	now := 0
	err := wait.PollUntilContextTimeout(context.WithoutCancel(t.Context()), 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		now = s.goroutines(t)
		return now <= before+mayStay, nil
	})
	if err != nil {
		t.Errorf("%d goroutines before, and %d after: %v", before, now, err)
	}
	t.Logf("goroutines: %d before, %d after", before, now)
}

func latency(sorted []time.Duration) string {
	if len(sorted) == 0 {
		return "no request"
	}
	at := func(part float64) time.Duration {
		return sorted[int(part*float64(len(sorted)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%d requests, median %v, 99 %% %v, longest %v", len(sorted), at(0.5), at(0.99), at(1))
}

// client is an HTTP client of its own connections.
func (s *suite) client(t *testing.T) *http.Client {
	t.Helper()
	c, err := rest.HTTPClientFor(s.admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

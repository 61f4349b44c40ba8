// SPDX-License-Identifier: Apache-2.0

// Package compare measures this repository's testenv and controller-runtime's envtest side by side:
//
//	go test -bench Testenv -benchtime 10x -count 3 ./compare
//	KUBEBUILDER_ASSETS=/folder/with/etcd/and/kube-apiserver go test -bench Envtest -benchtime 10x -count 3 ./compare
//
// Each iteration starts a control plane with the example's CustomResourceDefinition, creates the first object of it, and stops. Reported
// are the times that these take, the processor time spent, and the memory that is resident while it runs: what this process takes more
// than before it started the first, and what the processes take that were started. Run them in two processes, as above: what the first
// leaves behind in this one, the second would find.
package compare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/hivemind-project/hivemind/pkg/testenv"
)

var definitions = filepath.Join("..", "config", "crd")

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// BenchmarkTestenv starts a whole cluster: API server, controllers, scheduler and one node.
func BenchmarkTestenv(b *testing.B) {
	measure(b, func() (*rest.Config, func() error) {
		env, err := testenv.New(testenv.Options{CRDs: testenv.CRDs{Paths: []string{definitions}}})
		if err != nil {
			b.Fatal(err)
		}
		return env.Config(), env.Stop
	})
}

// BenchmarkEnvtest starts kube-apiserver and etcd.
func BenchmarkEnvtest(b *testing.B) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		b.Skip("KUBEBUILDER_ASSETS does not say where etcd and kube-apiserver are")
	}
	measure(b, func() (*rest.Config, func() error) {
		env := &envtest.Environment{CRDDirectoryPaths: []string{definitions}, ErrorIfCRDPathMissing: true}
		config, err := env.Start()
		if err != nil {
			b.Fatal(err)
		}
		return config, env.Stop
	})
}

func measure(b *testing.B, start func() (*rest.Config, func() error)) {
	var ready, first, stopped time.Duration
	var grown, children int64
	before, idle := spent(b), resident(b, os.Getpid())
	for b.Loop() {
		begin := time.Now()
		config, stop := start()
		ready += time.Since(begin)
		begin = time.Now()
		createFirst(b, config)
		first += time.Since(begin)
		grown += resident(b, os.Getpid()) - idle
		children += started(b)
		begin = time.Now()
		if err := stop(); err != nil {
			b.Fatal(err)
		}
		stopped += time.Since(begin)
	}
	n := float64(b.N)
	b.ReportMetric(ready.Seconds()*1000/n, "ms-to-ready")
	b.ReportMetric(first.Seconds()*1000/n, "ms-first-object")
	b.ReportMetric(stopped.Seconds()*1000/n, "ms-to-stop")
	b.ReportMetric(float64(grown)/n/(1<<20), "MiB-this-process")
	b.ReportMetric(float64(children)/n/(1<<20), "MiB-started")
	b.ReportMetric((spent(b)-before).Seconds()*1000/n, "ms-cpu")
	b.ReportMetric(0, "ns/op")
}

// createFirst creates an object of the type that has just been defined.
func createFirst(b *testing.B, config *rest.Config) {
	b.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	site := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Website", "metadata": map[string]any{"name": "first"}, "spec": map[string]any{"image": "i", "domain": "d"},
	}}
	sites := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "websites"}).Namespace("default")
	if _, err := sites.Create(context.Background(), site, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

// started is what the processes occupy that this one has started, in bytes.
func started(b *testing.B) int64 {
	b.Helper()
	var total int64
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			total += resident(b, child)
		}
	}
	return total
}

func resident(b *testing.B, process int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", process))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// spent is the processor time of this process and of those that it has started and waited for.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return total
}

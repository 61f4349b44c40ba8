// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
)

// patience is how long a test waits for what takes milliseconds.
const patience = 30 * time.Second

// stays are goroutines of libraries that run until the process ends, each with the reason. There is one of each, however many
// clusters have come and gone.
var stays = []struct{ createdBy, why string }{
	{"k8s.io/apiserver/pkg/server/healthz.(*log).Check.func1", "the health check \"log\" flushes klog once a minute from its first call on, by wait.Forever in a sync.Once"},
}

// holdings are what a process has that a cluster might leave behind.
type holdings struct {
	goroutines map[string]string // by id, the stack
	files      []string          // what open file descriptors lead to
}

var goroutineHeader = regexp.MustCompile(`^goroutine (\d+) \[`)

func held(t *testing.T) holdings {
	t.Helper()
	h := holdings{goroutines: map[string]string{}}
	stacks := make([]byte, 1<<20)
	for n := runtime.Stack(stacks, true); ; n = runtime.Stack(stacks, true) {
		if n < len(stacks) {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*n)
	}
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if m := goroutineHeader.FindStringSubmatch(stack); m != nil && !staying(stack) {
			h.goroutines[m[1]] = stack
		}
	}
	const dir = "/proc/self/fd"
	descriptors, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range descriptors {
		// The one that the list was read by is gone already.
		if to, err := os.Readlink(filepath.Join(dir, d.Name())); err == nil {
			h.files = append(h.files, d.Name()+" "+to)
		}
	}
	return h
}

func staying(stack string) bool {
	return slices.ContainsFunc(stays, func(s struct{ createdBy, why string }) bool {
		return strings.Contains(stack, "created by "+s.createdBy)
	})
}

// since is what is held and was not before.
func (h holdings) since(before holdings) []string {
	var more []string
	for id, stack := range h.goroutines {
		if _, ok := before.goroutines[id]; !ok {
			more = append(more, stack)
		}
	}
	for _, file := range h.files {
		if !slices.Contains(before.files, file) {
			more = append(more, "open file "+file)
		}
	}
	return more
}

// nothingLeft fails the test unless all that was opened and started since before has gone. Goroutines that have been told to end may
// take a moment.
func nothingLeft(t *testing.T, before holdings) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		left := held(t).since(before)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines and files are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// heap is how many bytes live objects take.
func heap() uint64 {
	var m runtime.MemStats
	for range 3 { // finalizers and weak pointers let go of objects one collection later
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// useAndStop starts a cluster, has it do some of everything, and stops it while clients still watch and, with streams, have a terminal
// open, which client-go takes a second to get over.
func useAndStop(t *testing.T, streams bool) {
	t.Helper()
	env, err := New(Options{CRDs: CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{widgets()}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	config := env.Config()
	client := clientset(t, config)
	follow := informers.NewSharedInformerFactory(client, 0)
	follow.Core().V1().Pods().Informer()
	follow.Apps().V1().Deployments().Informer()
	defer follow.Shutdown()
	defer cancel()
	defer env.Stop() // where something fails before it is to stop
	follow.StartWithContext(ctx)
	if err := follow.WaitForCacheSyncWithContext(ctx).AsError(); err != nil {
		t.Fatal(err)
	}
	if _, err := env.User(ctx, User{Name: "someone", ClusterRoles: []string{"view"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().Deployments("default").Create(ctx, deployment("web", 3), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	custom, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := custom.Resource(widgetsResource).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if _, err := custom.Resource(widgetsResource).Namespace("default").Create(ctx, widget("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	<-watch.ResultChan()
	pods := untilRunning(t, client, "app=web", 3)
	terminal := make(chan error, 1)
	if streams {
		openStreams(ctx, t, client, config, pods, terminal)
	} else {
		close(terminal)
	}
	defer aggregate(ctx, t, client, config)()
	doomed, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "doomed"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, doomed.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := env.Stop(); err != nil {
		t.Error(err)
	}
	select {
	case <-terminal:
	case <-time.After(patience):
		t.Error("a terminal outlives its cluster")
	}
}

// aggregate has a server take part in the API, asks it something, and returns what ends it.
func aggregate(ctx context.Context, t *testing.T, client *kubernetes.Clientset, config *rest.Config) (end func()) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "{}") }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a check of five that are made at once ends the others
	server.StartTLS()
	port := int32(server.Listener.Addr().(*net.TCPAddr).Port)
	_, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "aggregated"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = aggregatorclient.NewForConfigOrDie(config).ApiregistrationV1().APIServices().Create(ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.aggregated.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "aggregated.example.com", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 100, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "aggregated", Port: &port},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		_, err := client.RESTClient().Get().AbsPath("/apis/aggregated.example.com/v1").DoRaw(ctx)
		if err == nil {
			return server.Close
		}
		if time.Now().After(deadline) {
			t.Fatalf("an aggregated server is not asked: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// openStreams follows a log and opens a terminal, which nobody ends but the cluster.
func openStreams(ctx context.Context, t *testing.T, client *kubernetes.Clientset, config *rest.Config, pods []corev1.Pod, ended chan<- error) {
	t.Helper()
	lines, err := client.CoreV1().Pods("default").GetLogs(pods[0].Name, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lines.Close() })
	executor, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, execURL(client, pods[1].Name, "cat"))
	if err != nil {
		t.Fatal(err)
	}
	input, typing := io.Pipe()
	echo, printing := io.Pipe()
	t.Cleanup(func() { typing.Close() })
	go func() {
		ended <- executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: input, Stdout: printing})
		typing.Close()
		printing.Close()
	}()
	fmt.Fprintln(typing, "are you there?")
	if line, err := bufio.NewReader(echo).ReadString('\n'); err != nil || line != "are you there?\n" {
		t.Fatalf("cat says %q, %v", line, err)
	}
}

// What a cluster takes while it runs it has given back when it has stopped, whatever it was doing: goroutines, files and ports, and
// memory. A cluster that is still referred to takes some 8 MiB.
func TestNothingIsLeft(t *testing.T) {
	before := held(t)
	for i := range 3 { // what is made once in a process (metrics, codecs) is there afterwards
		useAndStop(t, i == 0)
		nothingLeft(t, before)
	}
	first := heap()
	for i := range 20 {
		useAndStop(t, i%10 == 0)
		nothingLeft(t, before)
	}
	// HTTP transports keep what they know of a connection, some 40 KiB, until it would have been idle for long.
	most := first + 4<<20
	var last uint64
	eventually(t, fmt.Sprintf("the heap to be what it was, %s", mebibytes(first)), func() (bool, error) {
		last = heap()
		return last <= most, fmt.Errorf("%s after 20 more clusters", mebibytes(last))
	})
	t.Logf("heap after 3 clusters %s, after 23 %s", mebibytes(first), mebibytes(last))
}

// A start that is interrupted anywhere leaves no more than one that went well.
func TestNothingIsLeftOfAStartThatFails(t *testing.T) {
	useAndStop(t, false)
	before := held(t)
	failed := 0
	for timeout := time.Millisecond; ; timeout += timeout / 4 {
		dir := filepath.Join(t.TempDir(), "cluster")
		env, err := New(Options{Dir: dir, StartTimeout: timeout})
		if err == nil {
			if err := env.Stop(); err != nil {
				t.Error(err)
			}
			break
		}
		failed++
		if !strings.Contains(err.Error(), "Options.StartTimeout") {
			t.Errorf("within %v: %v", timeout, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("within %v: the directory is still there: %v", timeout, err)
		}
		nothingLeft(t, before)
	}
	if failed < 10 {
		t.Errorf("only %d starts were interrupted", failed)
	}
	nothingLeft(t, before)
}

// SPDX-License-Identifier: Apache-2.0

package simulation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/pkg/agent/simulation"
	"github.com/hivemind-project/hivemind/pkg/component"
	"github.com/hivemind-project/hivemind/pkg/server"
)

const patience = 60 * time.Second

// cluster is a server and simulated nodes in this process, and an administrator's client.
type cluster struct {
	*kubernetes.Clientset
	t      *testing.T
	server *server.Server
	config *config.Config
	admin  *rest.Config
	stop   func()
}

// newConfig is that of a cluster with one node over dir.
func newConfig(t *testing.T, dir string) *config.Config {
	t.Helper()
	c := &config.Config{DataDir: dir, Runtime: config.RuntimeSimulated}
	c.Node.Name, c.Node.IP = "node", "127.0.0.1"
	c.API.Port = freePort(t)
	c.Storage.UnsafeNoFsync = true
	return c
}

func start(t *testing.T, c *config.Config) *cluster {
	t.Helper()
	config.SetDefaults(c)
	if errs := config.Validate(c); len(errs) > 0 {
		t.Fatal(errs)
	}
	s := server.New(c, server.Options{})
	nodes := simulation.New(c, simulation.Options{Upstream: func() (simulation.Upstream, error) {
		ids := s.Identities()
		return simulation.Upstream{Client: s.NodeClient, Controller: s.ControllerClient("node-controller"), Informers: s.Informers(),
			Serving: ids.KubeletServing.TLS(), ClientCA: ids.CA.Cert}, nil
	}})
	s.DialNodes(nodes.Dial)
	group := component.NewGroup(append(s.Components(), nodes.Components()...)...)
	if err := group.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := group.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	admin, err := clientcmd.BuildConfigFromFlags("", c.AdminKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	admin.QPS = -1
	return &cluster{Clientset: kubernetes.NewForConfigOrDie(admin), t: t, server: s, config: c, admin: admin, stop: stop}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return start(t, newConfig(t, filepath.Join(t.TempDir(), "hivemind")))
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually waits for done to be content; what it last said is the failure.
func (c *cluster) eventually(done func() error) {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			c.t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// pod is one with a container called c, and annotations as name and value in turn.
func pod(name string, annotations ...string) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}},
		Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "registry.test/app:1"}}}}
	for i := 0; i < len(annotations); i += 2 {
		p.Annotations["simulated.hivemind.io/"+annotations[i]] = annotations[i+1]
	}
	return p
}

func (c *cluster) create(p *v1.Pod) {
	c.t.Helper()
	// The account that pods run as is made a moment after its namespace.
	c.eventually(func() error {
		_, err := c.CoreV1().Pods("default").Create(c.t.Context(), p, metav1.CreateOptions{})
		return err
	})
}

// until waits for a pod to be as wanted.
func (c *cluster) until(name, what string, ok func(*v1.Pod) bool) *v1.Pod {
	c.t.Helper()
	var last *v1.Pod
	c.eventually(func() (err error) {
		if last, err = c.CoreV1().Pods("default").Get(c.t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !ok(last) {
			return fmt.Errorf("pod %s is not %s: %+v", name, what, last.Status)
		}
		return nil
	})
	return last
}

func (c *cluster) annotate(name string, annotations map[string]any) {
	c.t.Helper()
	parts := []string{}
	for key, value := range annotations {
		text := "null"
		if value != nil {
			text = fmt.Sprintf("%q", value)
		}
		parts = append(parts, fmt.Sprintf("%q: %s", "simulated.hivemind.io/"+key, text))
	}
	patch := `{"metadata": {"annotations": {` + strings.Join(parts, ", ") + `}}}`
	if _, err := c.CoreV1().Pods("default").Patch(c.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) event(pod, reason, text string) {
	c.t.Helper()
	c.eventually(func() error {
		list, err := c.CoreV1().Events("default").List(c.t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
		if err != nil {
			return err
		}
		var all []string
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Message, text) {
				return nil
			}
			all = append(all, e.Reason+": "+e.Message)
		}
		return fmt.Errorf("pod %s has no event %s with %q, but %q", pod, reason, text, all)
	})
}

func ready(p *v1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == v1.PodReady {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

func status(p *v1.Pod) v1.ContainerStatus {
	if len(p.Status.ContainerStatuses) == 0 {
		return v1.ContainerStatus{}
	}
	return p.Status.ContainerStatuses[0]
}

func waitsFor(reason string) func(*v1.Pod) bool {
	return func(p *v1.Pod) bool {
		w := status(p).State.Waiting
		return w != nil && w.Reason == reason
	}
}

func TestNodes(t *testing.T) {
	cfg := newConfig(t, filepath.Join(t.TempDir(), "hivemind"))
	cfg.Nodes, cfg.Simulated.Zones, cfg.Simulated.CPU, cfg.Node.MaxPods = new(3), 2, "4", 7
	cfg.Node.Labels = map[string]string{"disk": "ssd"}
	c := start(t, cfg)
	list, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addresses, zones := map[string]bool{}, []string{}
	for i, n := range list.Items {
		if want := c.config.NodeName(i); n.Name != want {
			t.Errorf("node %d is called %s, want %s", i, n.Name, want)
		}
		addresses[n.Status.Addresses[0].Address] = true
		zones = append(zones, n.Labels[v1.LabelTopologyZone])
		if n.Status.NodeInfo.ContainerRuntimeVersion != "simulated://1.0.0" || n.Status.Capacity.Cpu().String() != "4" || n.Status.Capacity.Pods().Value() != 7 || n.Labels["disk"] != "ssd" {
			t.Errorf("node %s: %+v, labels %v", n.Name, n.Status.NodeInfo, n.Labels)
		}
		c.eventually(func() error { // a node renews it beside its status
			lease, err := c.CoordinationV1().Leases(v1.NamespaceNodeLease).Get(t.Context(), n.Name, metav1.GetOptions{})
			if err == nil && *lease.Spec.HolderIdentity != n.Name {
				err = fmt.Errorf("lease of %s: %v", n.Name, lease)
			}
			return err
		})
	}
	if len(addresses) != 3 || strings.Join(zones, " ") != "zone-0 zone-1 zone-0" {
		t.Errorf("addresses %v, zones %v", addresses, zones)
	}
}

func TestLeastPrivilege(t *testing.T) {
	cfg := newConfig(t, filepath.Join(t.TempDir(), "hivemind"))
	cfg.Nodes = new(2)
	c := start(t, cfg)
	node := kubernetes.NewForConfigOrDie(c.server.NodeClient("node"))
	if _, err := node.CoreV1().Nodes().Get(t.Context(), "node", metav1.GetOptions{}); err != nil {
		t.Errorf("a node cannot read itself: %v", err)
	}
	for what, try := range map[string]func() error{
		"read a Secret": func() error {
			_, err := node.CoreV1().Secrets("kube-system").Get(t.Context(), "s", metav1.GetOptions{})
			return err
		},
		"list all pods": func() error {
			_, err := node.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
			return err
		},
		"write another node": func() error {
			_, err := node.CoreV1().Nodes().Patch(t.Context(), "node-1", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		},
		"be nobody": func() error {
			_, err := kubernetes.NewForConfigOrDie(c.server.NodeClient("")).CoreV1().Nodes().Get(t.Context(), "node", metav1.GetOptions{})
			return err
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) {
			t.Errorf("may %s: %v", what, err)
		}
	}
}

func TestJobs(t *testing.T) {
	c := newCluster(t)
	job := func(name string, backoff int32, annotations map[string]string, command ...string) {
		t.Helper()
		c.eventually(func() error {
			_, err := c.BatchV1().Jobs("default").Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{
				BackoffLimit: &backoff,
				Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: v1.PodSpec{RestartPolicy: v1.RestartPolicyNever,
					Containers: []v1.Container{{Name: "c", Image: "registry.test/app:1", Command: command}}}},
			}}, metav1.CreateOptions{})
			return err
		})
	}
	job("plain", 0, nil, "migrate", "--all")
	job("timed", 0, map[string]string{"simulated.hivemind.io/run-for": "1s"})
	job("fails", 0, map[string]string{"simulated.hivemind.io/exit-code": "3", "simulated.hivemind.io/exit-message": "no database"})
	for name, want := range map[string]batchv1.JobConditionType{"plain": batchv1.JobComplete, "timed": batchv1.JobComplete, "fails": batchv1.JobFailed} {
		c.eventually(func() error {
			j, err := c.BatchV1().Jobs("default").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, condition := range j.Status.Conditions {
				if condition.Type == want && condition.Status == v1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("job %s is not %s: %+v", name, want, j.Status)
		})
	}
	list, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		end := status(&p).State.Terminated
		switch {
		case end == nil:
			t.Errorf("pod %s has not ended: %+v", p.Name, p.Status)
		case strings.HasPrefix(p.Name, "timed") && end.FinishedAt.Sub(end.StartedAt.Time) < time.Second:
			t.Errorf("pod %s ran from %v to %v", p.Name, end.StartedAt, end.FinishedAt)
		case strings.HasPrefix(p.Name, "fails") && (end.ExitCode != 3 || end.Message != "no database"):
			t.Errorf("pod %s ended with %+v", p.Name, end)
		}
	}
}

func TestCrashes(t *testing.T) {
	c := newCluster(t)
	c.create(pod("once", "crashes", "1", "exit-code", "7"))
	c.create(pod("memory", "exit-reason", "OOMKilled", "run-for", "50ms"))
	once := c.until("once", "recovered", func(p *v1.Pod) bool { return ready(p) && status(p).RestartCount == 1 })
	if last := status(once).LastTerminationState.Terminated; last == nil || last.ExitCode != 7 {
		t.Errorf("last state is %+v", last)
	}
	memory := c.until("memory", "backing off", waitsFor("CrashLoopBackOff"))
	if last := status(memory).LastTerminationState.Terminated; last == nil || last.Reason != "OOMKilled" || last.ExitCode != 137 {
		t.Errorf("last state is %+v", last)
	}
	c.event("memory", "BackOff", "Back-off restarting failed container c")
	// And on demand, while it runs.
	c.create(pod("victim"))
	c.until("victim", "ready", ready)
	c.annotate("victim", map[string]any{"run-for": "0s", "exit-code": "9"})
	c.until("victim", "restarted", func(p *v1.Pod) bool { return status(p).RestartCount > 0 })
	// What cannot be read is told, and changes nothing.
	c.annotate("once", map[string]any{"run-for": "soon"})
	c.event("once", "InvalidAnnotation", `"soon" is not a duration`)
	c.create(pod("wrong", "run-for", "soon"))
	c.event("wrong", "FailedCreatePodSandBox", `annotation simulated.hivemind.io/run-for: "soon" is not a duration`)
}

func TestProbes(t *testing.T) {
	c := newCluster(t)
	probe := func(handler v1.ProbeHandler) *v1.Probe {
		return &v1.Probe{ProbeHandler: handler, PeriodSeconds: 1, FailureThreshold: 1}
	}
	port := v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(80)}}
	p := pod("web", "startup-probe", "fail until 1s")
	p.Spec.Containers[0].StartupProbe = probe(v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: 9000}})
	p.Spec.Containers[0].StartupProbe.FailureThreshold = 30
	p.Spec.Containers[0].ReadinessProbe = probe(v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(80)}})
	p.Spec.Containers[0].LivenessProbe = probe(port)
	c.create(p)
	c.until("web", "ready", ready)
	c.event("web", "Unhealthy", `Startup probe failed: simulated: annotation simulated.hivemind.io/startup-probe says "fail until 1s"`)
	c.annotate("web", map[string]any{"readiness-probe": "fail"})
	c.until("web", "unready", func(p *v1.Pod) bool { return !ready(p) })
	c.annotate("web", map[string]any{"readiness-probe": nil})
	c.until("web", "ready again", ready)
	c.annotate("web", map[string]any{"liveness-probe": "fail"})
	c.until("web", "restarted", func(p *v1.Pod) bool { return status(p).RestartCount > 0 })
	c.event("web", "Killing", "Container c failed liveness probe, will be restarted")
}

func TestImages(t *testing.T) {
	c := newCluster(t)
	c.create(pod("error", "pull-error", "unauthorized: authentication required"))
	missing := pod("missing")
	missing.Spec.Containers[0].Image = "registry.invalid/app:1"
	c.create(missing)
	c.create(pod("slow", "pull-delay", "500ms", "start-delay", "500ms"))
	c.until("error", "waiting for its image", waitsFor("ErrImagePull"))
	c.event("error", "Failed", "unauthorized: authentication required")
	c.until("missing", "backing off", waitsFor("ImagePullBackOff"))
	c.event("missing", "Failed", "lookup registry.invalid: no such host")
	c.until("slow", "ready", ready)
	c.create(pod("broken", "start-error", `exec: "/app": not found`))
	c.until("broken", "not started", waitsFor("RunContainerError"))
}

func TestVolumesAndEnvironment(t *testing.T) {
	c := newCluster(t)
	p := pod("web")
	p.Spec.Volumes = []v1.Volume{{Name: "conf", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "conf"}}}}}
	p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "conf", MountPath: "/etc/app"}, {Name: "conf", MountPath: "/etc/one.yaml", SubPath: "app.yaml"}}
	p.Spec.Containers[0].Env = []v1.EnvVar{{Name: "IP", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "status.podIP"}}}}
	c.create(p)
	c.event("web", "FailedMount", `configmaps "conf" not found`)
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf"}, Data: map[string]string{"app.yaml": "a: 1\n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	web := c.until("web", "ready", ready)
	for _, tt := range []struct {
		command []string
		code    int
		want    string
	}{
		{[]string{"cat", "/etc/app/app.yaml"}, 0, "a: 1\n"},
		{[]string{"cat", "/etc/one.yaml"}, 0, "a: 1\n"},
		{[]string{"ls", "/etc"}, 0, "app\nhostname\nhosts\none.yaml\n"},
		{[]string{"cat", "/etc/passwd"}, 1, "No such file or directory"},
		{[]string{"hostname"}, 0, "web\n"},
		{[]string{"sh", "-c", `echo "$IP" && test -f /etc/app/app.yaml || exit 9`}, 0, web.Status.PodIP + "\n"},
		{[]string{"printenv", "KUBERNETES_SERVICE_HOST"}, 0, "10.43.0.1\n"},
		{[]string{"cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"}, 0, "default"},
		{[]string{"psql"}, 127, "psql: not found: a simulated container has no programs but"},
		{[]string{"sh", "-c", "exit 3"}, 3, ""},
		{[]string{"sh", "-c", "ls | wc"}, 2, "runs plain commands"},
	} {
		out, code := c.exec("web", "", tt.command...)
		if code != tt.code || !strings.Contains(out, tt.want) || (tt.want == "" && out != "") {
			t.Errorf("%q: exit code %d, %q; want %d, %q", tt.command, code, out, tt.code, tt.want)
		}
	}
	// The token is a real one.
	token, _ := c.exec("web", "", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	as := rest.AnonymousClientConfig(c.admin)
	as.BearerToken = token
	if _, err := kubernetes.NewForConfigOrDie(as).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:default:default") {
		t.Errorf("the pod's token: %v", err)
	}
	// A shell reads what is typed.
	if out, code := c.exec("web", "echo one\nfalse || echo two; exit 5\n", "sh"); code != 5 || out != "one\ntwo\n" {
		t.Errorf("shell: exit code %d, %q", code, out)
	}
}

// TestAttach talks to a shell that is a container's command, as kubectl run -i does.
func TestAttach(t *testing.T) {
	c := newCluster(t)
	p := pod("talk")
	p.Spec.RestartPolicy = v1.RestartPolicyNever
	p.Spec.Containers[0].Stdin, p.Spec.Containers[0].Command = true, []string{"sh"}
	c.create(p)
	c.create(pod("web"))
	c.until("talk", "ready", ready)
	c.until("web", "ready", ready)
	out, code := c.stream("talk", "attach", "echo hi\nexit 3\n", &v1.PodAttachOptions{Container: "c", Stdin: true, Stdout: true, Stderr: true})
	if code != 0 || out != "hi\n" {
		t.Errorf("attached: %d, %q", code, out)
	}
	done := c.until("talk", "failed", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodFailed })
	if code := status(done).State.Terminated.ExitCode; code != 3 {
		t.Errorf("the shell ended with %d", code)
	}
	// Any other container shows its log, until it ends.
	shown := &watched{first: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		ended <- c.open("web", "attach", &v1.PodAttachOptions{Container: "c", Stdout: true}, remotecommand.StreamOptions{Stdout: shown})
	}()
	late := time.After(patience)
	select {
	case <-shown.first:
	case <-late:
		t.Fatal("attaching shows nothing")
	}
	c.annotate("web", map[string]any{"run-for": "0s"})
	select {
	case err := <-ended:
		if err != nil || !strings.Contains(shown.String(), "container c of pod default/web runs, simulated") {
			t.Errorf("attached to web: %q, %v", shown.String(), err)
		}
	case <-late:
		t.Fatal("attaching does not end with the container")
	}
	forward := c.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("talk").SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.admin)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", forward).Dial(portforward.PortForwardProtocolV1Name)
	if err == nil || !strings.Contains(err.Error(), "nothing listens in a simulated pod") && !strings.Contains(err.Error(), "pod not found") {
		t.Errorf("port-forward: %v", err)
	}
}

// exec runs a command as kubectl does, and returns all that it printed.
func (c *cluster) exec(name, stdin string, command ...string) (string, int) {
	c.t.Helper()
	return c.stream(name, "exec", stdin, &v1.PodExecOptions{Container: "c", Command: command, Stdin: stdin != "", Stdout: true, Stderr: true})
}

func (c *cluster) stream(name, verb, stdin string, options k8sruntime.Object) (string, int) {
	c.t.Helper()
	var out, errs bytes.Buffer
	streams := remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}
	if stdin != "" {
		streams.Stdin = strings.NewReader(stdin)
	}
	err := c.open(name, verb, options, streams)
	var exit utilexec.CodeExitError
	switch {
	case err == nil:
		return out.String() + errs.String(), 0
	case errors.As(err, &exit):
		return out.String() + errs.String(), exit.Code
	}
	c.t.Errorf("%s of %s: %v; it said %q", verb, name, err, out.String()+errs.String())
	return "", -1
}

func (c *cluster) open(name, verb string, options k8sruntime.Object, streams remotecommand.StreamOptions) error {
	request := c.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(name).SubResource(verb).VersionedParams(options, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(c.admin, "POST", request.URL())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	return executor.StreamWithContext(ctx, streams)
}

// watched is a buffer that says when there is something in it.
type watched struct {
	mu    sync.Mutex
	once  sync.Once
	first chan struct{}
	text  strings.Builder
}

func (w *watched) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.first) })
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (c *cluster) logs(name string, o v1.PodLogOptions) string {
	c.t.Helper()
	stream, err := c.CoreV1().Pods("default").GetLogs(name, &o).Stream(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	defer stream.Close()
	text, err := io.ReadAll(stream)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

func TestLogs(t *testing.T) {
	c := newCluster(t)
	c.create(pod("talks", "log", "listening\nready", "log-every", "100ms"))
	c.create(pod("plain", "crashes", "1"))
	c.until("talks", "ready", ready)
	c.until("plain", "restarted", func(p *v1.Pod) bool { return ready(p) && status(p).RestartCount == 1 })
	if got := c.logs("talks", v1.PodLogOptions{TailLines: new(int64(2))}); got != "listening\nready\n" {
		t.Errorf("tail is %q", got)
	}
	if got, want := c.logs("plain", v1.PodLogOptions{}), "container c of pod default/plain runs, simulated\n"; got != want {
		t.Errorf("log is %q, want %q", got, want)
	}
	if got, want := c.logs("plain", v1.PodLogOptions{Previous: true}), "container c of pod default/plain runs, simulated\ncontainer c ended with exit code 1 (Error)\n"; got != want {
		t.Errorf("previous log is %q, want %q", got, want)
	}
	if got := c.logs("plain", v1.PodLogOptions{LimitBytes: new(int64(9))}); got != "container" {
		t.Errorf("limited log is %q", got)
	}
	// Following ends with the container.
	followed := make(chan string, 1)
	go func() { followed <- c.logs("talks", v1.PodLogOptions{Follow: true, Timestamps: true}) }()
	c.eventually(func() error {
		if n := strings.Count(c.logs("talks", v1.PodLogOptions{}), "ready"); n < 3 {
			return fmt.Errorf("%d rounds", n)
		}
		return nil
	})
	if err := c.CoreV1().Pods("default").Delete(t.Context(), "talks", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-followed:
		line, _, _ := strings.Cut(text, "\n")
		at, _, _ := strings.Cut(line, " ")
		if _, err := time.Parse(time.RFC3339Nano, at); err != nil || strings.Count(text, "listening") < 3 {
			t.Errorf("followed %q: %v", text, err)
		}
	case <-time.After(patience):
		t.Error("following does not end")
	}
}

func TestUsage(t *testing.T) {
	c := newCluster(t)
	c.create(pod("busy", "cpu", "250m", "memory", "64Mi"))
	c.until("busy", "ready", ready)
	for path, want := range map[string]string{
		"stats/summary":    `"usageNanoCores":250000000`,
		"metrics/resource": `container_memory_working_set_bytes{container="c",namespace="default",pod="busy"} 6.7108864e+07`,
		"pods":             `"name":"busy"`,
	} {
		raw, err := c.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/node/proxy/" + path).DoRaw(t.Context())
		if err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%s: %s, %v; want %s", path, raw, err, want)
		}
	}
}

func TestNothingChangesOverARestart(t *testing.T) {
	cfg := newConfig(t, filepath.Join(t.TempDir(), "hivemind"))
	cfg.Nodes = new(2)
	c := start(t, cfg)
	web := pod("web")
	web.Spec.InitContainers = []v1.Container{{Name: "init", Image: "registry.test/init:1"}}
	web.Spec.Containers[0].ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"x"}}}, PeriodSeconds: 1}
	c.create(web)
	c.create(pod("restarted", "crashes", "1"))
	c.create(pod("loops", "exit-code", "1"))
	done := pod("done", "exit-code", "0")
	done.Spec.RestartPolicy = v1.RestartPolicyNever
	c.create(done)
	timed := pod("timed", "run-for", "3s")
	timed.Spec.RestartPolicy = v1.RestartPolicyNever
	c.create(timed)
	c.until("web", "ready", ready)
	c.until("restarted", "restarted", func(p *v1.Pod) bool { return ready(p) && status(p).RestartCount == 1 })
	c.until("done", "done", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodSucceeded })
	c.until("timed", "running", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodRunning })
	c.until("loops", "backing off", waitsFor("CrashLoopBackOff"))
	before := map[string]*v1.Pod{}
	for _, name := range []string{"web", "restarted", "done"} {
		before[name] = c.until(name, "there", func(*v1.Pod) bool { return true })
	}
	began := c.until("timed", "running", func(*v1.Pod) bool { return true }).Status.ContainerStatuses[0].State.Running.StartedAt
	c.stop()

	c = start(t, cfg)
	ended := c.until("timed", "done", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodSucceeded })
	if end := status(ended).State.Terminated; end.StartedAt != began || end.FinishedAt.Sub(began.Time) != 3*time.Second {
		t.Errorf("it began at %v; its end is %+v", began, end)
	}
	c.until("loops", "still failing", func(p *v1.Pod) bool { return status(p).RestartCount >= 1 })
	c.create(pod("next"))
	next := c.until("next", "ready", ready)
	for name, was := range before {
		is := c.until(name, "there", func(*v1.Pod) bool { return true })
		if is.ResourceVersion != was.ResourceVersion {
			t.Errorf("pod %s was written again: it was %+v, it is %+v", name, was.Status, is.Status)
		}
		if next.Status.PodIP == was.Status.PodIP && name != "done" {
			t.Errorf("pod next has the address of %s", name)
		}
	}
	if got, want := c.logs("restarted", v1.PodLogOptions{Previous: true}), "ended with exit code 1 (Error)"; !strings.Contains(got, want) {
		t.Errorf("previous log is %q, want %q", got, want)
	}
	if got, want := c.logs("done", v1.PodLogOptions{}), "ended with exit code 0 (Completed)"; !strings.Contains(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
	if out, code := c.exec("web", "", "hostname"); code != 0 || out != "web\n" {
		t.Errorf("exec: %d, %q", code, out)
	}
}

func TestFewerNodesThanBefore(t *testing.T) {
	cfg := newConfig(t, filepath.Join(t.TempDir(), "hivemind"))
	cfg.Nodes = new(3)
	start(t, cfg).stop()
	cfg.Nodes = new(1)
	c := start(t, cfg)
	c.eventually(func() error {
		list, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err == nil && (len(list.Items) != 1 || list.Items[0].Name != "node") {
			err = fmt.Errorf("there are %d nodes", len(list.Items))
		}
		return err
	})
	c.stop()

	cfg.Nodes = new(0)
	c = start(t, cfg)
	c.create(pod("waits"))
	c.until("waits", "unschedulable", func(p *v1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c v1.PodCondition) bool {
			return c.Type == v1.PodScheduled && c.Reason == v1.PodReasonUnschedulable
		})
	})
}

func TestManyNodes(t *testing.T) {
	const nodes, pods = 50, 500
	cfg := newConfig(t, filepath.Join(t.TempDir(), "hivemind"))
	cfg.Nodes = new(nodes)
	c := start(t, cfg)
	// A new node takes no pods before the node controller has seen that it is ready.
	c.eventually(func() error {
		list, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range list.Items {
			if len(n.Spec.Taints) > 0 {
				return fmt.Errorf("node %s is tainted: %v", n.Name, n.Spec.Taints)
			}
		}
		return nil
	})
	replicas, labels := int32(pods), map[string]string{"app": "web"}
	c.eventually(func() error {
		_, err := c.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("x").Spec},
		}}, metav1.CreateOptions{})
		return err
	})
	c.eventually(func() error {
		d, err := c.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas != pods {
			err = fmt.Errorf("%d pods are ready", d.Status.ReadyReplicas)
		}
		return err
	})
	list, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	on, addresses := map[string]int{}, map[string]bool{}
	for _, p := range list.Items {
		on[p.Spec.NodeName]++
		addresses[p.Status.PodIP] = true
	}
	if len(on) != nodes || len(addresses) != pods {
		t.Errorf("%d pods are on %d nodes and have %d addresses", len(list.Items), len(on), len(addresses))
	}
	// At rest a pod has no goroutine, and a node a few.
	if n := runtime.NumGoroutine(); n > 1500+8*nodes {
		t.Errorf("%d goroutines", n)
	}
}

func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 2 {
		c := newCluster(t)
		c.create(pod("web", "log-every", "1s"))
		c.until("web", "ready", ready)
		c.stop()
	}
	deadline := time.After(patience)
	for runtime.NumGoroutine() > before+10 { // what libraries start once and keep
		select {
		case <-deadline:
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

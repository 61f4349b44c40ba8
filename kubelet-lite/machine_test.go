// SPDX-License-Identifier: Apache-2.0

//go:build containers

// These tests run pods on a real containerd: they need root, busybox (static), and HIVEMIND_TEST_BIN to name a directory with
// containerd, containerd-shim-runc-v2 and runc. Pods are on the host's network.

package kubelet

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"

	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
	"github.com/hivemind-project/hivemind/kubelet-lite/containerd"
	"github.com/hivemind-project/hivemind/kubelet-lite/objects"
	"github.com/hivemind-project/hivemind/kubelet-lite/volume"
)

const busyboxImage = "registry.test/busybox:1"

// machine is a world whose runtime is real.
type machine struct {
	*world
	config Config
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	pause := filepath.Join(dir, "pause.tar")
	build := exec.Command("go", "run", "./hack/pauseimage", "-o", pause)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build pause image: %v\n%s", err, out)
	}
	archive, err := os.ReadFile(pause)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("hivemind-k%d", os.Getpid())
	mounts, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	groups := cgroup.New(mounts, "/"+name, 0)
	options := containerd.Options{BinDir: os.Getenv("HIVEMIND_TEST_BIN"), DataDir: dir, RunDir: "/run/" + name, CgroupRoot: "/" + name,
		CNIBinDirs: []string{"/nonexistent"}, CNIConfDir: filepath.Join(dir, "cni"), PauseImage: archive, LogLevel: "info"}
	supervisor := containerd.New(options, groups)
	ctx := context.Background()
	t.Cleanup(func() {
		if err := supervisor.Reset(ctx); err != nil {
			t.Errorf("reset: %v", err)
		}
		_ = os.Remove(options.RunDir)
	})
	if err := supervisor.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := supervisor.Import(ctx, busyboxArchive(t), true); err != nil {
		t.Fatal(err)
	}
	runtime, err := cri.NewRemoteRuntimeServiceBuilder().WithEndpoint("unix://" + supervisor.Socket()).WithConnectionTimeout(time.Minute).WithTracerProvider(nil).Build(ctx)
	if err != nil {
		t.Fatal(err)
	}
	images, err := cri.NewRemoteImageServiceBuilder().WithEndpoint("unix://" + supervisor.Socket()).WithConnectionTimeout(time.Minute).WithTracerProvider(nil).Build(ctx)
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset()
	// It reads as the API server's watch-based cache does, from the same map.
	stored := &memoryObjects{}
	w := &world{t: t, client: client, objects: stored, events: &memoryRecorder{}, dir: dir}
	m := &machine{world: w, config: Config{NodeName: nodeName, NodeIPs: []string{"127.0.0.1"}, Client: client, Runtime: notNetworked{runtime}, Images: images,
		Volumes: volume.New(volume.Options{PodsDir: filepath.Join(dir, "kubelet", "pods"), Client: client, Objects: stored, Tokens: objects.NewTokens(client)}),
		Objects: stored, Cgroups: groups, RootDir: filepath.Join(dir, "kubelet"), PodLogDir: filepath.Join(dir, "logs"),
		ClusterDomain: "cluster.local", Recorder: w.events, NoSeccomp: !hasSeccomp(t, options.BinDir)}}
	m.start()
	t.Cleanup(func() { w.stop() })
	return m
}

// start runs an agent, in place of the one before.
func (m *machine) start() {
	m.t.Helper()
	k, err := New(m.config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.run(k)
}

// shell is a pod on the host's network that runs a script.
func shell(name, script string) *v1.Pod {
	pod := newPod(name, v1.Container{Name: "main", Image: busyboxImage, Command: []string{"/bin/sh", "-c", script}})
	grace := int64(5)
	pod.Spec.HostNetwork = true
	pod.Spec.TerminationGracePeriodSeconds = &grace
	return pod
}

const serve = `trap 'echo stopping; exit 0' TERM; echo started; while :; do sleep 0.1; done`

func (m *machine) log(pod *v1.Pod, restart int) string {
	m.t.Helper()
	content, err := os.ReadFile(filepath.Join(m.dir, "logs", "default_"+pod.Name+"_"+string(pod.UID), "main", fmt.Sprint(restart)+".log"))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(content)
}

func TestRealPod(t *testing.T) {
	m := newMachine(t)
	m.objects.put(&v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf", Namespace: "default"}, Data: map[string]string{"color": "green", "file": "content\n"}})
	pod := shell("web", `cat /conf/file /part; echo "$COLOR $NODE $CPU $HELLO"; hostname; id -u; cat /proc/self/oom_score_adj; `+serve)
	pod.Spec.Volumes = []v1.Volume{{Name: "conf", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "conf"}}}}}
	user := int64(1000)
	c := &pod.Spec.Containers[0]
	c.SecurityContext = &v1.SecurityContext{RunAsUser: &user}
	c.VolumeMounts = []v1.VolumeMount{{Name: "conf", MountPath: "/conf"}, {Name: "conf", MountPath: "/part", SubPath: "file"}}
	c.Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("100m"), v1.ResourceMemory: resource.MustParse("32Mi")}
	c.Resources.Limits = v1.ResourceList{v1.ResourceCPU: resource.MustParse("500m"), v1.ResourceMemory: resource.MustParse("64Mi")}
	c.Env = []v1.EnvVar{
		{Name: "COLOR", ValueFrom: &v1.EnvVarSource{ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "conf"}, Key: "color"}}},
		{Name: "NODE", ValueFrom: &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
		{Name: "CPU", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.cpu", Divisor: resource.MustParse("1m")}}},
		{Name: "HELLO", Value: "$(COLOR)-$(UNKNOWN)"},
	}
	c.ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"test", "-e", "/conf/file"}}}, PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 1, SuccessThreshold: 1}
	begin := time.Now()
	m.create(pod)
	m.until("web", "ready", isPodReady)
	t.Logf("ready after %v", time.Since(begin).Round(time.Millisecond))
	m.eventually(func() bool { return strings.Contains(m.log(pod, 0), "started") }, func() string { return m.log(pod, 0) })
	for _, want := range []string{"content", "green " + nodeName + " 500 green-$(UNKNOWN)", "1000"} {
		if !strings.Contains(m.log(pod, 0), want) {
			t.Errorf("log lacks %q:\n%s", want, m.log(pod, 0))
		}
	}
	if n := strings.Count(m.log(pod, 0), "content"); n != 2 {
		t.Errorf("file and its subPath were read %d times", n)
	}

	// A container that is killed by hand runs again, soon.
	begin = time.Now()
	id := containerStatus(m.pod("web"), "main").ContainerID
	m.kill(id)
	m.until("web", "running again", func(p *v1.Pod) bool {
		s := containerStatus(p, "main")
		return s.RestartCount == 1 && s.State.Running != nil && s.LastTerminationState.Terminated != nil && s.LastTerminationState.Terminated.ExitCode == 137
	})
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("a killed container ran again after %v", took)
	}

	// Another agent takes over and disturbs nothing.
	before := containerStatus(m.until("web", "ready again", isPodReady), "main")
	m.stop()
	m.start()
	m.eventually(func() bool { return m.kubelet.podWorkers().Known(pod.UID) }, func() string { return "not adopted" })
	m.create(shell("next", serve))
	m.until("next", "ready", isPodReady)
	if after := containerStatus(m.until("web", "ready", isPodReady), "main"); after.ContainerID != before.ContainerID || after.RestartCount != before.RestartCount {
		t.Errorf("container was %+v, is %+v", before, after)
	}
	m.delete("web", 5)
	m.delete("next", 5)
	m.untilGone("web")
	m.untilGone("next")
	m.eventually(func() bool { return len(m.kubelet.cache.UIDs()) == 0 }, func() string { return "something is left in the runtime" })
	m.eventually(func() bool {
		_, err := os.Stat(filepath.Join(m.dir, "kubelet", "pods", string(pod.UID)))
		return os.IsNotExist(err)
	}, func() string { return "the pod's directory is left" })
}

func TestRealJob(t *testing.T) {
	m := newMachine(t)
	pod := shell("job", `echo -n "last words" >/dev/termination-log; exit 3`)
	pod.Spec.RestartPolicy = v1.RestartPolicyNever
	pod.Spec.InitContainers = []v1.Container{{Name: "before", Image: busyboxImage, Command: []string{"/bin/sh", "-c", "true"}}}
	setDefaults(&pod.Spec.InitContainers[0])
	m.create(pod)
	done := m.until("job", "failed", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodFailed })
	end := containerStatus(done, "main").State.Terminated
	if end == nil || end.ExitCode != 3 || end.Message != "last words" || end.Reason != "Error" {
		t.Errorf("termination is %+v", end)
	}
	if init := containerStatus(done, "before"); init.State.Terminated == nil || init.State.Terminated.Reason != "Completed" || !init.Ready {
		t.Errorf("init container is %+v", init)
	}
}

func hasSeccomp(t *testing.T, binDir string) bool {
	t.Helper()
	out, err := exec.Command(filepath.Join(binDir, "runc"), "features").Output()
	if err != nil {
		t.Fatal(err)
	}
	var features struct {
		Linux struct{ Seccomp struct{ Enabled bool } }
	}
	if err := json.Unmarshal(out, &features); err != nil {
		t.Fatal(err)
	}
	return features.Linux.Seccomp.Enabled
}

// kill ends a container's process behind the runtime's back.
func (m *machine) kill(containerID string) {
	m.t.Helper()
	_, id, _ := strings.Cut(containerID, "://")
	answer, err := m.config.Runtime.ContainerStatus(context.Background(), id, true)
	if err != nil {
		m.t.Fatal(err)
	}
	var info struct{ Pid int }
	if err := json.Unmarshal([]byte(answer.Info["info"]), &info); err != nil || info.Pid == 0 {
		m.t.Fatalf("no pid in %v", answer.Info)
	}
	process, err := os.FindProcess(info.Pid)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		m.t.Fatal(err)
	}
}

// busyboxArchive is an OCI archive of an image with nothing but busybox.
func busyboxArchive(t *testing.T) io.Reader {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	add := func(h *tar.Header, content []byte) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "tmp", "dev", "etc"} {
		add(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			add(&tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.ConfigFile(image, configOf(t, image))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendImage(image, layout.WithAnnotations(map[string]string{"io.containerd.image.name": busyboxImage})); err != nil {
		t.Fatal(err)
	}
	return tarOf(t, dir)
}

func configOf(t *testing.T, image gcr.Image) *gcr.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Env = []string{"PATH=/bin"}
	return config
}

func tarOf(t *testing.T, dir string) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir).(fs.FS)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// notNetworked is a runtime whose lack of a pod network is no reason for the node not to be ready: these pods need none.
type notNetworked struct{ internalapi.RuntimeService }

func (r notNetworked) Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	answer, err := r.RuntimeService.Status(ctx, verbose)
	for _, c := range answer.GetStatus().GetConditions() {
		c.Status = c.Status || c.Type == runtimeapi.NetworkReady
	}
	return answer, err
}

// SPDX-License-Identifier: Apache-2.0

// Package containerdtest starts a real containerd for tests, with an image to run and nothing left behind. It needs root,
// and HIVEMIND_TEST_BIN to name a directory with containerd, containerd-shim-runc-v2 and runc.
package containerdtest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	remote "k8s.io/cri-client/pkg"

	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
	"github.com/hivemind-project/hivemind/kubelet-lite/containerd"
)

// Toolbox is the image that is there: a program with the verbs of toolbox/main.go.
const Toolbox = "docker.io/library/toolbox:1"

// Node is a running containerd and what it takes to use it.
type Node struct {
	Options containerd.Options
	Cgroups *cgroup.Manager
	*containerd.Supervisor
	Runtime cri.RuntimeService
	Images  cri.ImageManagerService
	LogDir  string // root of the pods' logs
}

// Options returns those of a cluster of which the test's end leaves nothing, with nothing started.
func Options(t testing.TB) (containerd.Options, *cgroup.Manager) {
	t.Helper()
	bin := os.Getenv("HIVEMIND_TEST_BIN")
	if bin == "" {
		t.Fatal("HIVEMIND_TEST_BIN must name a directory with containerd, containerd-shim-runc-v2 and runc")
	}
	pause := filepath.Join(t.TempDir(), "pause.tar")
	build(t, "run", "./hack/pauseimage", "-o", pause)
	archive, err := os.ReadFile(pause)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(t.TempDir()))
	name := "hivemind-t" + hex.EncodeToString(sum[:4])
	opts := containerd.Options{
		BinDir: bin, DataDir: t.TempDir(), RunDir: "/run/" + name, CgroupRoot: "/" + name,
		CNIBinDirs: []string{"/nonexistent"}, CNIConfDir: filepath.Join(t.TempDir(), "cni"), PauseImage: archive, LogLevel: "info",
	}
	groups := cgroup.New(mounts, opts.CgroupRoot, 0)
	t.Cleanup(func() {
		if t.Failed() {
			if log, err := os.ReadFile(filepath.Join(opts.DataDir, "logs", "containerd.log")); err == nil {
				t.Logf("end of containerd's log:\n%s", log[max(0, len(log)-8000):])
			}
		}
		if err := containerd.New(opts, groups).Reset(context.Background()); err != nil {
			t.Errorf("reset at the end: %v", err)
		}
		_ = os.Remove(opts.RunDir)
	})
	return opts, groups
}

// Start starts containerd, has it ready, and loads Toolbox.
func Start(t testing.TB) *Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opts, groups := Options(t)
	n := &Node{Options: opts, Cgroups: groups, Supervisor: containerd.New(opts, groups), LogDir: filepath.Join(opts.DataDir, "logs", "pods")}
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Import(ctx, bytes.NewReader(toolbox(t)), false); err != nil {
		t.Fatal(err)
	}
	var err error
	endpoint := "unix://" + n.Socket()
	if n.Runtime, err = remote.NewRemoteRuntimeServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(30 * time.Second).Build(ctx); err != nil {
		t.Fatal(err)
	}
	if n.Images, err = remote.NewRemoteImageServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(30 * time.Second).Build(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.Runtime.Close(context.Background())
		_ = n.Images.Close(context.Background())
		if err := n.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	Eventually(t, "image is known", func() bool {
		got, err := n.Images.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: Toolbox}, false)
		return err == nil && got.Image != nil
	})
	return n
}

// Pod starts a sandbox on the host's network, labelled as the agent labels its own.
func (n *Node) Pod(t testing.TB, name, uid string) (id string, config *runtimeapi.PodSandboxConfig) {
	t.Helper()
	dir := filepath.Join(n.LogDir, "default_"+name+"_"+uid)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config = &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: uid},
		Labels:       map[string]string{"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": uid},
		LogDirectory: dir,
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    n.Options.CgroupRoot + "/pods/besteffort/pod" + uid,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE}},
		},
	}
	id, err := n.Runtime.RunPodSandbox(t.Context(), config, "")
	if err != nil {
		t.Fatal(err)
	}
	return id, config
}

// Container starts a container of the Toolbox image with the verb given, its log where the agent has it.
func (n *Node) Container(t testing.TB, pod string, config *runtimeapi.PodSandboxConfig, name string, attempt uint32, options func(*runtimeapi.ContainerConfig), args ...string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(config.LogDirectory, name), 0o755); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"io.kubernetes.container.name": name}
	for k, v := range config.Labels {
		labels[k] = v
	}
	c := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name, Attempt: attempt}, Labels: labels,
		Image: &runtimeapi.ImageSpec{Image: Toolbox}, Args: args, LogPath: fmt.Sprintf("%s/%d.log", name, attempt),
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE}}},
	}
	if options != nil {
		options(c)
	}
	id, err := n.Runtime.CreateContainer(t.Context(), pod, c, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Runtime.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return id
}

// Ended waits until the container has ended.
func (n *Node) Ended(t testing.TB, id string) {
	t.Helper()
	Eventually(t, "container has ended", func() bool {
		s, err := n.Runtime.ContainerStatus(t.Context(), id, false)
		return err == nil && s.Status.State == runtimeapi.ContainerState_CONTAINER_EXITED
	})
}

// Eventually waits for the condition, and fails the test if it does not come within half a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// build runs the go command in the module's root.
func build(t testing.TB, args ...string) {
	t.Helper()
	gomod, err := exec.Command("go", "env", "GOMOD").Output() // tests run in the directory of their package
	if err != nil {
		t.Fatalf("find the module's root: %v", err)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(gomod)))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// toolbox builds the image, as an OCI archive.
func toolbox(t testing.TB) []byte {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "toolbox")
	build(t, "build", "-ldflags=-s -w", "-o", bin, "./kubelet-lite/containerd/containerdtest/toolbox")
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		name string
		data []byte
	}
	pack := func(mode int64, entries ...entry) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, e := range entries {
			if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: mode, Size: int64(len(e.data))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(e.data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	hash := func(data []byte) string {
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:])
	}
	describe := func(kind string, data []byte) map[string]any {
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + hash(data), "size": len(data)}
	}
	layer := pack(0o755, entry{"toolbox", program})
	config := encode(map[string]any{"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/toolbox"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hash(layer)}}})
	manifest := encode(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": describe("config.v1+json", config), "layers": []any{describe("layer.v1.tar", layer)}})
	top := describe("manifest.v1+json", manifest)
	top["annotations"] = map[string]string{"io.containerd.image.name": Toolbox}
	index := encode(map[string]any{"schemaVersion": 2, "manifests": []any{top}})
	return pack(0o644, entry{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, entry{"index.json", index},
		entry{"blobs/sha256/" + hash(layer), layer}, entry{"blobs/sha256/" + hash(config), config}, entry{"blobs/sha256/" + hash(manifest), manifest})
}

// SPDX-License-Identifier: Apache-2.0

//go:build containers

// These tests start a real containerd with real containers: they need root, and HIVEMIND_TEST_BIN to name a directory
// with containerd, containerd-shim-runc-v2 and runc.

package containerd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
)

// newMachine returns options of a cluster that the test's end leaves nothing of.
func newMachine(t *testing.T) (Options, *cgroup.Manager) {
	t.Helper()
	pause := filepath.Join(t.TempDir(), "pause.tar")
	build := exec.Command("go", "run", "./hack/pauseimage", "-o", pause)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build pause image: %v\n%s", err, out)
	}
	archive, err := os.ReadFile(pause)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("hivemind-t%d", os.Getpid())
	mounts, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		BinDir: os.Getenv("HIVEMIND_TEST_BIN"), DataDir: t.TempDir(), RunDir: "/run/" + name, CgroupRoot: "/" + name,
		CNIBinDirs: []string{"/nonexistent"}, CNIConfDir: filepath.Join(t.TempDir(), "cni"), PauseImage: archive, LogLevel: "info",
	}
	groups := cgroup.New(mounts, opts.CgroupRoot, 0)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("containerd's log:\n%s", tail(opts.logFile(), 40))
		}
		if err := New(opts, groups).Reset(context.Background()); err != nil {
			t.Errorf("reset at the end: %v", err)
		}
		_ = os.Remove(opts.RunDir)
	})
	return opts, groups
}

func start(t *testing.T, ctx context.Context, opts Options, groups *cgroup.Manager) *Supervisor {
	t.Helper()
	s := New(opts, groups)
	begin := time.Now()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v, pid %d", time.Since(begin).Round(time.Millisecond), s.current.pid)
	return s
}

// addNetwork gives the machine a network whose plugin does nothing but answer.
func addNetwork(t *testing.T, opts *Options) {
	t.Helper()
	bin := t.TempDir()
	opts.CNIBinDirs = []string{bin}
	for path, text := range map[string]string{
		filepath.Join(bin, "nothing"):                     "#!/bin/sh\ncat >/dev/null\necho '{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"'$CNI_NETNS'\"}],\"ips\":[{\"address\":\"10.9.9.9/24\",\"interface\":0}]}'\n",
		filepath.Join(opts.CNIConfDir, "10-net.conflist"): `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"nothing"}]}`,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// runPod starts a pod with one container, on a network of its own, and returns the ids and the container's process.
func runPod(t *testing.T, ctx context.Context, s *Supervisor, root string) (pod, container string, pid int) {
	t.Helper()
	conn, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rt := cri.NewRuntimeServiceClient(conn)
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "p", Namespace: "default", Uid: "u1"},
		LogDirectory: t.TempDir(),
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    root + "/pods/besteffort/podu1",
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_POD}},
		},
	}
	sandbox, err := rt.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	image, err := imageName(s.opts.PauseImage)
	if err != nil {
		t.Fatal(err)
	}
	made, err := rt.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: sandbox.PodSandboxId, SandboxConfig: config, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "c"}, Image: &cri.ImageSpec{Image: image}, Command: []string{"/pause"},
		LogPath: "c.log", Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(s.opts.state(), "io.containerd.runtime.v2.task", criNamespace, made.ContainerId, "init.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return sandbox.PodSandboxId, made.ContainerId, pid
}

func TestContainersOutliveEverything(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	opts, groups := newMachine(t)
	addNetwork(t, &opts)
	s := start(t, ctx, opts, groups)
	_, container, pid := runPod(t, ctx, s, opts.CgroupRoot)
	born := startTime(pid)
	if born == "" {
		t.Fatalf("process %d of the container does not run", pid)
	}
	first := s.current.pid
	if own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil {
		t.Fatal(err)
	} else if host, err := os.Readlink("/proc/self/ns/net"); err != nil || own == host {
		t.Fatalf("the pod is on the host's network, %v", err)
	}
	if mounts, err := mountsIn(opts.RunDir); err != nil || !strings.Contains(mounts, "/netns/") {
		t.Errorf("no network namespace below the run directory: %s, %v", mounts, err)
	}
	running := func(when string, s *Supervisor) {
		t.Helper()
		if got := startTime(pid); got != born {
			t.Fatalf("%s: the container's process was started at %q, want %q", when, got, born)
		}
		if s == nil {
			return
		}
		conn, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		got, err := cri.NewRuntimeServiceClient(conn).ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container})
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got.Status.State != cri.ContainerState_CONTAINER_RUNNING {
			t.Fatalf("%s: container is %s", when, got.Status.State)
		}
	}

	// Killed: started again by itself.
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for s.failures() == 0 && time.Now().Before(deadline) {
		if err := s.Ready(ctx); err != nil && s.failures() == 0 {
			continue
		}
	}
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	second := s.current.pid
	s.mu.Unlock()
	if second == first {
		t.Fatal("containerd was not started again")
	}
	running("after containerd was killed", s)

	// Its owner went away: adopted by the next.
	s.Abandon()
	s = start(t, ctx, opts, groups)
	if s.current.pid != second {
		t.Errorf("containerd %d was not adopted: %d runs", second, s.current.pid)
	}
	running("after adoption", s)

	// Its owner went away before it was recorded, or with another configuration: replaced.
	s.Abandon()
	if err := os.Remove(opts.pidFile()); err != nil {
		t.Fatal(err)
	}
	s = start(t, ctx, opts, groups)
	third := s.current.pid
	if third == second || startTime(second) != "" {
		t.Errorf("unrecorded containerd %d was not replaced", second)
	}
	s.Abandon()
	opts.LogLevel = "debug"
	s = start(t, ctx, opts, groups)
	if s.current.pid == third || startTime(third) != "" {
		t.Errorf("containerd %d with another configuration was not replaced", third)
	}
	running("after replacement", s)

	fourth := s.current.pid
	for range 2 {
		if err := s.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if startTime(fourth) != "" {
		t.Error("containerd runs after Stop")
	}
	running("after Stop", nil)

	// Reset finds the shims without containerd's help.
	for range 2 {
		if err := New(opts, groups).Reset(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if startTime(pid) != "" {
		t.Error("the container runs after Reset")
	}
	if left := find(func(args []string) bool { return strings.Contains(strings.Join(args, " "), opts.RunDir+"/") }); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	for _, dir := range []string{opts.RunDir, opts.DataDir} {
		if mounts, err := mountsIn(dir); err != nil || mounts != "" {
			t.Errorf("mounts are left: %s, %v", mounts, err)
		}
	}
	if err := os.Remove(opts.RunDir); err != nil {
		t.Errorf("run directory is not empty: %v", err)
	}
	if uids, err := groups.List(); err != nil || len(uids) > 0 {
		t.Errorf("cgroups of pods %v are left, %v", uids, err)
	}
}

// mountsIn are the lines of mountinfo that name the directory.
func mountsIn(dir string) (string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	var out []string
	for _, l := range strings.Split(string(data), "\n") {
		if strings.Contains(l, dir) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n"), err
}

// A containerd that cannot start is an error with its own words, in time.
func TestBrokenContainerd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opts, groups := newMachine(t)
	if err := os.MkdirAll(opts.state(), 0o711); err != nil {
		t.Fatal(err)
	}
	// A directory where the database should be.
	if err := os.MkdirAll(filepath.Join(opts.root(), "io.containerd.metadata.v1.bolt", "meta.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := New(opts, groups)
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	err := s.Ready(ctx)
	if err == nil || !strings.Contains(err.Error(), "meta.db") {
		t.Errorf("error %v, want one that quotes containerd's", err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// A stale socket, pid file and a stranger under the recorded process number are no hindrance.
func TestStaleFiles(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	opts, groups := newMachine(t)
	if err := os.MkdirAll(opts.state(), 0o711); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: opts.Socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	if err := os.WriteFile(opts.pidFile(), []byte(fmt.Sprintf("%d 1 abc\n", stranger.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, ctx, opts, groups)
	if startTime(stranger.Process.Pid) == "" {
		t.Error("a stranger's process was ended")
	}
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

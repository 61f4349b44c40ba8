// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	apiconfig "github.com/hivemind-project/hivemind/apis/config"
	"github.com/hivemind-project/hivemind/hack/images/build"
	"github.com/hivemind-project/hivemind/kubelet-lite/cgroup"
	"github.com/hivemind-project/hivemind/kubelet-lite/containerd"
	"github.com/hivemind-project/hivemind/test/cluster"
)

// runtime is a containerd of its own, made of the same programs as the cluster's and with the same network, that nobody but the benchmark speaks to:
// the floor that a pod's start cannot go below. (The agent would remove pods from the cluster's that nobody has asked it for.)
type runtime struct {
	cri.RuntimeServiceClient
	conn       *grpc.ClientConn
	supervisor *containerd.Supervisor
	dir        string
	parent     string // cgroup of pods
}

// newRuntime starts it beside a running cluster and pulls the image. config says where its files go.
func newRuntime(ctx context.Context, c *cluster.Cluster, config *apiconfig.Config, registryAddr string) (_ *runtime, err error) {
	bins, err := filepath.Glob(c.Config.Path("bin", "*", "containerd"))
	if err != nil || len(bins) != 1 {
		return nil, fmt.Errorf("find containerd in %s: %v, %w", c.Config.Path("bin"), bins, err)
	}
	bin := filepath.Dir(bins[0])
	pause, err := os.ReadFile(filepath.Join(bin, "pause.tar"))
	if err != nil {
		return nil, fmt.Errorf("read the image of sandboxes: %w", err)
	}
	mounts, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	r := &runtime{dir: config.RunDir(), parent: config.CgroupRoot() + "/pods", supervisor: containerd.New(containerd.Options{
		BinDir: bin, DataDir: config.DataDir, RunDir: config.RunDir(), CgroupRoot: config.CgroupRoot(),
		CNIBinDirs: []string{bin}, CNIConfDir: c.Config.Path("cni", "net.d"), PauseImage: pause,
		Registries: []apiconfig.Registry{{Host: build.Public, Endpoints: []string{"http://" + registryAddr}}},
	}, cgroup.New(mounts, config.CgroupRoot(), 0))}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := errors.Join(r.supervisor.Start(ready), r.supervisor.Ready(ready)); err != nil {
		return nil, err
	}
	if r.conn, err = grpc.NewClient("unix://"+r.supervisor.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	r.RuntimeServiceClient = cri.NewRuntimeServiceClient(r.conn)
	if _, err := cri.NewImageServiceClient(r.conn).PullImage(ready, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}}); err != nil {
		return nil, fmt.Errorf("pull %s: %w", image, err)
	}
	return r, nil
}

// close removes it, with all that it has started.
func (r *runtime) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	if r.conn != nil {
		err = r.conn.Close()
	}
	return errors.Join(err, r.supervisor.Reset(ctx), os.RemoveAll(r.dir))
}

// timePods starts pods of one container each, some at a time, says how long that took, and removes them.
func (r *runtime) timePods(ctx context.Context, name string, pods, atOnce int) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var sandboxes []string
	each := func(n int, do func(i int) error) error {
		var errs []error
		var wg sync.WaitGroup
		slots := make(chan struct{}, atOnce)
		for i := range n {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := do(i); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}
	begin := time.Now()
	err = each(pods, func(i int) error {
		id, err := r.startPod(ctx, fmt.Sprintf("%s-%d", name, i))
		mu.Lock()
		defer mu.Unlock()
		if id != "" {
			sandboxes = append(sandboxes, id)
		}
		return err
	})
	took = time.Since(begin)
	return took, errors.Join(err, each(len(sandboxes), func(i int) error { return r.removePod(ctx, sandboxes[i]) }))
}

func (r *runtime) startPod(ctx context.Context, name string) (sandbox string, err error) {
	config := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: "bare", Uid: name},
		Hostname: name, Linux: &cri.LinuxPodSandboxConfig{CgroupParent: r.parent, SecurityContext: &cri.LinuxSandboxSecurityContext{}},
	}
	ran, err := r.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		return "", fmt.Errorf("run sandbox %s: %w", name, err)
	}
	created, err := r.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: ran.PodSandboxId, SandboxConfig: config, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"}, Image: &cri.ImageSpec{Image: image}, Command: []string{"sleep", "86400"},
		Linux: &cri.LinuxContainerConfig{},
	}})
	if err != nil {
		return ran.PodSandboxId, fmt.Errorf("create container in %s: %w", name, err)
	}
	if _, err := r.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		return ran.PodSandboxId, fmt.Errorf("start container in %s: %w", name, err)
	}
	return ran.PodSandboxId, nil
}

func (r *runtime) removePod(ctx context.Context, sandbox string) error {
	if _, err := r.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox}); err != nil {
		return fmt.Errorf("stop sandbox %s: %w", sandbox, err)
	}
	if _, err := r.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox}); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", sandbox, err)
	}
	return nil
}

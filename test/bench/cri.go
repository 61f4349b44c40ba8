// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/hivemind-project/hivemind/test/cluster"
)

// runtime is a cluster's containerd, spoken to without the cluster: the floor that a pod's start cannot go below.
type runtime struct {
	*grpc.ClientConn
	cri.RuntimeServiceClient
}

func connect(c *cluster.Cluster) (*runtime, error) {
	conn, err := grpc.NewClient("unix://"+c.Config.RunDir()+"/containerd/containerd.sock", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return &runtime{conn, cri.NewRuntimeServiceClient(conn)}, nil
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
		Hostname: name, Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{}},
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

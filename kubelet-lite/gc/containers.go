// SPDX-License-Identifier: Apache-2.0

package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

const (
	containersEvery = time.Minute
	// young containers and sandboxes may be about to be started by a pod worker.
	young = time.Minute
)

// Containers removes dead containers but the newest of each name (its log is `kubectl logs --previous`), sandboxes that
// nothing runs in, and log directories of pods that are gone.
type Containers struct {
	runtime cri.RuntimeService
	logs    string
	keep    func(types.UID) bool
	now     func() time.Time
}

// NewContainers returns a collector. logs is the root of the pods' log directories; keep tells whether the agent still
// looks after the pod: of one that it does not, nothing dead is kept.
func NewContainers(runtime cri.RuntimeService, logs string, keep func(types.UID) bool) *Containers {
	return &Containers{runtime: runtime, logs: logs, keep: keep, now: time.Now}
}

// Run collects until ctx ends.
func (g *Containers) Run(ctx context.Context) {
	tick := time.NewTicker(containersEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := g.Collect(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Container garbage collection failed")
		}
	}
}

// Collect looks once. Every removal is tried; the errors are joined.
func (g *Containers) Collect(ctx context.Context) error {
	containers, err := g.runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	sandboxes, err := g.runtime.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{})
	if err != nil {
		return fmt.Errorf("list pod sandboxes: %w", err)
	}
	var errs []error
	removed := map[string]bool{}
	for _, id := range g.deadContainers(containers) {
		if err := g.runtime.RemoveContainer(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("remove container %s: %w", id, err))
			continue
		}
		removed[id] = true
	}
	containers = slices.DeleteFunc(containers, func(c *runtimeapi.Container) bool { return removed[c.Id] })
	for _, id := range g.emptySandboxes(sandboxes, containers) {
		// It may hold a network still, if it was never stopped in order.
		err := g.runtime.StopPodSandbox(ctx, id)
		if err == nil {
			err = g.runtime.RemovePodSandbox(ctx, id)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove pod sandbox %s: %w", id, err))
		}
	}
	return errors.Join(append(errs, g.removeLogs(sandboxes))...)
}

// deadContainers are those to remove.
func (g *Containers) deadContainers(all []*runtimeapi.Container) []string {
	type key struct{ uid, name string }
	byName := map[key][]*runtimeapi.Container{}
	for _, c := range all {
		dead := c.State == runtimeapi.ContainerState_CONTAINER_EXITED || c.State == runtimeapi.ContainerState_CONTAINER_UNKNOWN ||
			c.State == runtimeapi.ContainerState_CONTAINER_CREATED && g.now().Sub(time.Unix(0, c.CreatedAt)) > young
		if dead {
			k := key{c.Labels[kubelettypes.KubernetesPodUIDLabel], c.Labels[kubelettypes.KubernetesContainerNameLabel]}
			byName[k] = append(byName[k], c)
		}
	}
	var out []string
	for k, list := range byName {
		slices.SortFunc(list, func(a, b *runtimeapi.Container) int { return int(b.CreatedAt - a.CreatedAt) })
		if g.keep(types.UID(k.uid)) {
			list = list[1:]
		}
		for _, c := range list {
			out = append(out, c.Id)
		}
	}
	slices.Sort(out)
	return out
}

// emptySandboxes are those to remove: not ready, without containers, and not the newest of a pod that is kept.
func (g *Containers) emptySandboxes(all []*runtimeapi.PodSandbox, containers []*runtimeapi.Container) []string {
	used := map[string]bool{}
	for _, c := range containers {
		used[c.PodSandboxId] = true
	}
	newest := map[string]*runtimeapi.PodSandbox{}
	for _, s := range all {
		uid := s.GetMetadata().GetUid()
		if n := newest[uid]; n == nil || s.CreatedAt > n.CreatedAt {
			newest[uid] = s
		}
	}
	var out []string
	for _, s := range all {
		uid := s.GetMetadata().GetUid()
		if s.State == runtimeapi.PodSandboxState_SANDBOX_READY || used[s.Id] || g.now().Sub(time.Unix(0, s.CreatedAt)) < young ||
			g.keep(types.UID(uid)) && newest[uid] == s {
			continue
		}
		out = append(out, s.Id)
	}
	slices.Sort(out)
	return out
}

// removeLogs removes the directories of pods that neither the agent nor the runtime knows.
func (g *Containers) removeLogs(sandboxes []*runtimeapi.PodSandbox) error {
	entries, err := os.ReadDir(g.logs)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("list log directories: %w", err)
	}
	known := map[string]bool{}
	for _, s := range sandboxes {
		known[s.GetMetadata().GetUid()] = true
	}
	var errs []error
	for _, e := range entries {
		part := strings.Split(e.Name(), "_")
		if len(part) != 3 || known[part[2]] || g.keep(types.UID(part[2])) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(g.logs, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove log directory %s: %w", e.Name(), err))
		}
	}
	return errors.Join(errs...)
}

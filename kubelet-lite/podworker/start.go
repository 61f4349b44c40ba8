// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	grpcstatus "google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/criconfig"
	"github.com/hivemind-project/hivemind/kubelet-lite/images"
	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
	"github.com/hivemind-project/hivemind/kubelet-lite/status"
)

// configRetry is how soon a container is tried again whose configuration lacks something, such as a ConfigMap.
const configRetry = 2 * time.Second

// startContainer takes one container as far as it goes now. It returns when to try again by itself; zero is never.
func (w *worker) startContainer(ctx context.Context, turn *turn, pod *v1.Pod, runtime *pleg.Pod, sandbox *runtimeapi.PodSandboxConfig, sandboxID string, s start) time.Duration {
	c := s.container
	latest, ran := runtime.Latest(c.Name)
	key := string(w.uid) + "/" + c.Name + "/" + criconfig.Hash(c)
	if ran && latest.State == pleg.Exited && w.m.backOff.IsInBackOffSince(key, latest.FinishedAt) {
		delay := w.m.backOff.Get(key)
		w.wait(s, "CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", delay, c.Name, criconfig.PodName(pod)))
		text := fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.Name, criconfig.PodName(pod))
		if w.told["BackOff "+latest.ID] == "" {
			put(&w.told, "BackOff "+latest.ID, text)
			w.containerEvent(pod, c, s.kind, v1.EventTypeWarning, "BackOff", text)
		}
		return max(delay-w.m.Clock.Since(latest.FinishedAt), time.Millisecond)
	}
	image, volumes, after, ok := w.images(pod, sandbox, s)
	if !ok {
		return after
	}
	target, err := w.target(runtime, s)
	if err != nil {
		return w.fail(pod, s, "CreateContainerConfigError", err, configRetry)
	}
	restarts := w.restartCount(pod, latest, ran, c.Name)
	config, err := w.configure(pod, runtime, s, image, volumes, restarts, target)
	if err != nil {
		return w.fail(pod, s, "CreateContainerConfigError", err, configRetry)
	}
	if ran && latest.State == pleg.Created {
		// It was created and never started, by an agent that died in between: its place is needed.
		w.removeContainer(ctx, latest, false)
	}
	if ran && latest.State == pleg.Exited {
		w.m.backOff.Next(key, latest.FinishedAt)
	}
	id, err := w.m.Runtime.CreateContainer(w.starting, sandboxID, config, sandbox)
	if err != nil {
		return w.fail(pod, s, "CreateContainerError", err, w.backOffAgain())
	}
	w.containerEvent(pod, c, s.kind, v1.EventTypeNormal, "Created", "Container created")
	if err := w.m.Runtime.StartContainer(w.starting, id); err != nil {
		w.look(ctx, sandboxID, id)
		return w.fail(pod, s, "RunContainerError", fmt.Errorf("%s", strings.ReplaceAll(message(err), id, c.Name)), w.backOffAgain())
	}
	w.look(ctx, sandboxID, id)
	w.containerEvent(pod, c, s.kind, v1.EventTypeNormal, "Started", "Container started")
	delete(w.waiting, c.Name)
	delete(w.force, c.Name)
	delete(w.told, "Failed "+c.Name)
	w.prune(ctx, pod, c.Name)
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		turn.release() // a hook may take its time
		w.postStart(ctx, pod, s, id)
	}
	if s.kind == criconfig.Sidecar && c.StartupProbe == nil {
		w.report(pod, false) // makes it known as started
		w.wake()             // for the next one
	}
	return 0
}

// images ensures a container's image and those of its image volumes.
func (w *worker) images(pod *v1.Pod, sandbox *runtimeapi.PodSandboxConfig, s start) (criconfig.Image, criconfig.Volumes, time.Duration, bool) {
	c := s.container
	volumes := criconfig.Volumes{Mounted: w.volumes, Images: map[string]string{}}
	ensure := func(image string, policy v1.PullPolicy) (images.Result, time.Duration, bool) {
		r := w.m.Images.Ensure(w.m.ctx, pod, reference(pod, c, s.kind), image, policy, sandbox)
		if r.Ref == "" {
			return r, w.noImage(pod, s, r), false
		}
		return r, 0, true
	}
	own, after, ok := ensure(c.Image, c.ImagePullPolicy)
	if !ok {
		return criconfig.Image{}, volumes, after, false
	}
	for _, v := range pod.Spec.Volumes {
		if v.Image == nil || !mounts(c, v.Name) {
			continue
		}
		extra, after, ok := ensure(v.Image.Reference, v.Image.PullPolicy)
		if !ok {
			return criconfig.Image{}, volumes, after, false
		}
		volumes.Images[v.Name] = extra.Ref
	}
	return criconfig.Image{Ref: own.Ref, UID: own.UID, Username: own.Username}, volumes, 0, true
}

// noImage shows why there is no image yet.
func (w *worker) noImage(pod *v1.Pod, s start, r images.Result) time.Duration {
	if r.Pulling {
		if have := w.waiting[s.container.Name]; have.Reason != images.ReasonPullBackOff && have.Reason != images.ReasonPull {
			delete(w.waiting, s.container.Name)
		}
		return 0 // the puller wakes us
	}
	w.wait(s, r.Reason, r.Message)
	w.failedEvent(pod, s, "Error: "+r.Reason)
	return r.Retry
}

// configure makes the container's configuration; its error is what the container's status says.
func (w *worker) configure(pod *v1.Pod, runtime *pleg.Pod, s start, image criconfig.Image, volumes criconfig.Volumes, restarts int, target string) (*runtimeapi.ContainerConfig, error) {
	c := s.container
	ips := runtime.IPs()
	if pod.Spec.HostNetwork {
		ips = w.m.HostIPs
	}
	paths := make(map[string]string, len(volumes.Mounted))
	for name, v := range volumes.Mounted {
		paths[name] = v.HostPath
	}
	env, err := w.m.Env.Environment(pod, c, ips, paths)
	if err != nil {
		return nil, err
	}
	mounts, err := w.m.Builder.Mounts(pod, c, ips, env, volumes)
	if err != nil {
		return nil, err
	}
	return w.m.Builder.Container(criconfig.Input{Pod: pod, Container: c, Kind: s.kind, RestartCount: restarts, PodIPs: ips, Image: image,
		Env: env, Mounts: mounts, TargetID: target})
}

// restartCount continues the count of the container before; where the runtime has lost it, that of the pod's status.
func (w *worker) restartCount(pod *v1.Pod, latest pleg.Container, ran bool, name string) int {
	if ran && latest.State == pleg.Created {
		return latest.RestartCount
	}
	if ran {
		return latest.RestartCount + 1
	}
	if s := statusOf(pod.Status, name); s != nil && s.ContainerID != "" {
		return int(s.RestartCount) + 1
	}
	return 0
}

func (w *worker) target(runtime *pleg.Pod, s start) (string, error) {
	if s.target == "" {
		return "", nil
	}
	c, ok := runtime.Latest(s.target)
	if !ok {
		return "", fmt.Errorf("unable to find target container %v", s.target)
	}
	return c.ID, nil
}

// postStart runs the hook that must have succeeded for the container to go on.
func (w *worker) postStart(ctx context.Context, pod *v1.Pod, s start, id string) {
	runtime := w.m.Cache.Get(w.uid)
	ip := ""
	if ips := runtime.IPs(); len(ips) > 0 {
		ip = ips[0]
	} else if pod.Spec.HostNetwork && len(w.m.HostIPs) > 0 {
		ip = w.m.HostIPs[0]
	}
	err := w.m.Hooks.Run(w.starting, pod, s.container, id, ip, s.container.Lifecycle.PostStart)
	if err == nil || w.starting.Err() != nil {
		return
	}
	klog.FromContext(ctx).V(2).Info("PostStart hook failed", "container", s.container.Name, "err", err)
	w.containerEvent(pod, s.container, s.kind, v1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	w.wait(s, "PostStartHookError", err.Error())
	for _, c := range runtime.Live() {
		if c.ID == id {
			w.stopContainer(ctx, pod, runtime, c, s.container, "FailedPostStartHook", w.grace(pod))
		}
	}
}

// fail shows why a container has not been started.
func (w *worker) fail(pod *v1.Pod, s start, reason string, err error, retry time.Duration) time.Duration {
	if w.starting.Err() != nil {
		return 0
	}
	text := message(err)
	w.wait(s, reason, text)
	w.failedEvent(pod, s, "Error: "+text)
	return retry
}

func (w *worker) failedEvent(pod *v1.Pod, s start, text string) {
	if key := "Failed " + s.container.Name; w.told[key] != text {
		put(&w.told, key, text)
		w.containerEvent(pod, s.container, s.kind, v1.EventTypeWarning, "Failed", text)
	}
}

func (w *worker) wait(s start, reason, text string) {
	put(&w.waiting, s.container.Name, status.Waiting{Reason: reason, Message: text})
}

// look reads a container's state right after it was changed; if that fails, the runtime's event will bring it.
func (w *worker) look(ctx context.Context, sandboxID, id string) {
	if _, err := w.m.Watcher.RefreshContainer(ctx, w.uid, sandboxID, id); err != nil {
		klog.FromContext(ctx).V(2).Info("Container cannot be read", "container", id, "err", err)
	}
}

// prune keeps one dead container of that name, for its logs, and removes older ones.
func (w *worker) prune(ctx context.Context, pod *v1.Pod, name string) {
	dead := 0
	for _, c := range w.m.Cache.Get(w.uid).Containers {
		if c.Name != name || c.State != pleg.Exited {
			continue
		}
		if dead++; dead > 1 {
			w.removeContainer(ctx, c, true)
			delete(w.messages, c.ID)
			delete(w.told, "BackOff "+c.ID)
		}
	}
}

// removeContainer removes a container, and its log with it.
func (w *worker) removeContainer(ctx context.Context, c pleg.Container, log bool) {
	if err := w.m.Runtime.RemoveContainer(ctx, c.ID); err != nil {
		klog.FromContext(ctx).V(2).Info("Container cannot be removed yet", "container", c.ID, "err", err)
		return
	}
	w.m.Cache.DropContainer(w.uid, c.ID)
	if !log || c.LogPath == "" {
		return
	}
	rotated, err := filepath.Glob(c.LogPath + ".*")
	if err != nil {
		rotated = nil
	}
	for _, path := range append(rotated, c.LogPath) {
		_ = os.Remove(path) // it goes with its pod at the latest
	}
}

func mounts(c *v1.Container, volume string) bool {
	for _, m := range c.VolumeMounts {
		if m.Name == volume {
			return true
		}
	}
	return false
}

func makeLogDir(dir string) error {
	if dir == "" {
		return nil // the runtime keeps no logs in files
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create log directory: %w", err)
	}
	return nil
}

// message is an error's text without what gRPC wraps around it.
func message(err error) string {
	if s, ok := grpcstatus.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

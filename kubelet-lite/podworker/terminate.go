// SPDX-License-Identifier: Apache-2.0

package podworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/kubelet-lite/pleg"
)

const settleTimeout = 10 * time.Second

// terminate takes a pod towards its end: its containers stop, its sandbox and mounts go, its last status is sent, and if it has
// been deleted, its object and its remains go too. Each pass does what can be done now.
func (w *worker) terminate(ctx context.Context, pod *v1.Pod, runtime *pleg.Pod) time.Duration {
	if w.stage < terminating {
		w.setStage(terminating)
		w.m.Prober.Quiesce(w.uid)
	}
	if w.stage < ended {
		after, done := w.stopAll(ctx, pod, runtime)
		if !done {
			return after
		}
		if err := w.release(ctx, pod); err != nil {
			if ctx.Err() != nil {
				return 0
			}
			klog.FromContext(ctx).Error(err, "Pod cannot be cleaned up yet")
			w.event(pod, v1.EventTypeWarning, "FailedKillPod", "error killing pod: "+err.Error())
			return w.backOffAgain()
		}
		w.settled()
		w.report(pod, true)
		w.setStage(ended)
	}
	w.mu.Lock()
	gone := w.gone
	w.mu.Unlock()
	if pod.DeletionTimestamp != nil && !gone {
		if after := w.deleteObject(ctx, pod); after > 0 {
			return after
		}
	}
	if pod.DeletionTimestamp != nil || gone {
		if err := w.removeAll(ctx, pod); err != nil {
			if ctx.Err() != nil {
				return 0
			}
			klog.FromContext(ctx).Error(err, "Remains of pod cannot be removed yet")
			return w.backOffAgain()
		}
	}
	if gone {
		w.finish()
	}
	return 0
}

// stopAll stops the pod's containers. done means that none runs.
func (w *worker) stopAll(ctx context.Context, pod *v1.Pod, runtime *pleg.Pod) (after time.Duration, done bool) {
	for _, c := range runtime.Live() {
		w.stopContainer(ctx, pod, runtime, c, specOf(pod, c.Name), "", w.grace(pod))
	}
	w.nextTurns(pod, runtime)
	if len(runtime.Live()) == 0 && !w.anyStopping() {
		return 0, true
	}
	w.report(pod, false)
	return 30 * time.Second, false // a container's end wakes us
}

// release frees what the pod held on the node.
func (w *worker) release(ctx context.Context, pod *v1.Pod) error {
	turn := &turn{slots: w.m.stops}
	if err := turn.take(ctx); err != nil {
		return err
	}
	defer turn.release()
	w.m.Prober.StopPod(w.uid)
	for _, s := range w.m.Cache.Get(w.uid).Sandboxes {
		if err := w.stopSandbox(ctx, s.ID); err != nil {
			return err
		}
	}
	// What the containers left is read before its file's mount goes.
	for _, c := range w.m.Cache.Get(w.uid).Containers {
		w.message(c)
	}
	if err := w.m.Volumes.Unmount(ctx, w.uid); err != nil {
		return fmt.Errorf("unmount volumes: %w", err)
	}
	if w.m.Objects != nil {
		w.m.Objects.Unregister(pod)
	}
	if w.m.Cgroups != nil {
		if err := w.m.Cgroups.Remove(w.uid); err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}

// deleteObject ends the pod's deletion in the API, once its last status is there. It returns when to try again.
func (w *worker) deleteObject(ctx context.Context, pod *v1.Pod) time.Duration {
	settle, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := w.m.Status.Settle(settle, w.uid); err != nil {
		return w.backOffAgain()
	}
	sending := &turn{slots: w.m.Turns}
	if err := sending.take(ctx); err != nil {
		return 0
	}
	defer sending.release()
	now := int64(0)
	options := metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}}
	err := w.m.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Pod cannot be deleted from the API yet")
		}
		return w.backOffAgain()
	}
	return 0
}

// removeAll removes what is left of the pod on the node.
func (w *worker) removeAll(ctx context.Context, pod *v1.Pod) error {
	turn := &turn{slots: w.m.stops}
	if err := turn.take(ctx); err != nil {
		return err
	}
	defer turn.release()
	var errs []error
	runtime := w.m.Cache.Get(w.uid)
	for _, s := range runtime.Sandboxes {
		errs = append(errs, w.removeSandbox(ctx, s.ID))
	}
	for _, c := range w.m.Cache.Get(w.uid).Containers { // of sandboxes that were gone before
		errs = append(errs, w.m.Runtime.RemoveContainer(ctx, c.ID))
		w.m.Cache.DropContainer(w.uid, c.ID)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return w.removeFiles(pod)
}

// removeFiles removes logs and the files that the agent made for the pod.
func (w *worker) removeFiles(pod *v1.Pod) error {
	if w.m.Builder.RootDir == "" {
		return nil
	}
	if pod.Name != "" {
		if err := os.RemoveAll(w.m.Builder.LogDir(pod)); err != nil {
			return fmt.Errorf("remove logs: %w", err)
		}
	}
	// Only what is the agent's own is removed by content; the directory itself goes when nothing else is in it.
	dir := w.m.Builder.PodDir(pod)
	for _, own := range []string{"containers", "etc-hosts"} {
		if err := os.RemoveAll(dir + "/" + own); err != nil {
			return fmt.Errorf("remove directory of pod: %w", err)
		}
	}
	_ = os.Remove(dir)
	return nil
}

func (w *worker) stopSandbox(ctx context.Context, id string) error {
	if err := w.m.Runtime.StopPodSandbox(ctx, id); err != nil {
		return fmt.Errorf("stop sandbox %s: %w", id, err)
	}
	w.m.Cache.StoppedSandbox(w.uid, id)
	return nil
}

func (w *worker) removeSandbox(ctx context.Context, id string) error {
	if err := w.stopSandbox(ctx, id); err != nil {
		return err
	}
	if err := w.m.Runtime.RemovePodSandbox(ctx, id); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", id, err)
	}
	w.m.Cache.DropSandbox(w.uid, id)
	return nil
}

// finish drops a pod of which nothing is left.
func (w *worker) finish() {
	w.setStage(removed)
	w.m.drop(w)
}

func (w *worker) setStage(s stage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stage = s
}

// SPDX-License-Identifier: Apache-2.0

// This file says which jobs are looked at when a job or a pod changes, and lets go of pods whose job does not count them
// any more.

package job

import (
	"context"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/owner"
	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
)

func (c *Controller) jobChanged(old, cur any) {
	before, ok1 := loop.Object[*batchv1.Job](old)
	job, ok2 := loop.Object[*batchv1.Job](cur)
	if !ok1 || !ok2 {
		return
	}
	if before.UID != job.UID {
		c.jobGone(before) // deleted and made again while nobody watched
	}
	if finished(job) {
		c.letGoOf(job)
	}
	delay := time.Duration(0)
	if before.Generation == job.Generation {
		delay = together // the status alone has changed, most likely by us
	}
	c.loop.EnqueueAfter(job, delay)
}

func (c *Controller) jobGone(obj any) {
	job, ok := loop.Object[*batchv1.Job](obj)
	if !ok {
		return
	}
	c.forget(job.Namespace + "/" + job.Name)
	c.loop.Enqueue(job)
	c.letGoOf(job)
}

func (c *Controller) podAdded(obj any) {
	pod, ok := loop.Object[*corev1.Pod](obj)
	if !ok {
		return
	}
	if pod.DeletionTimestamp != nil {
		c.podLeft(pod, false) // after a restart: not a creation that somebody waits for
		return
	}
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil {
		c.podFree(pod)
		return
	}
	if job := c.resolve(pod.Namespace, ref); job != nil && !finished(job) {
		key := pod.Namespace + "/" + ref.Name
		c.expected.CreationObserved(key)
		c.loop.AddAfter(key, together)
	} else if tracked(pod) && ofJob(ref) {
		c.orphans.Enqueue(pod)
	}
}

func (c *Controller) podChanged(old, cur any) {
	before, ok1 := loop.Object[*corev1.Pod](old)
	pod, ok2 := loop.Object[*corev1.Pod](cur)
	if !ok1 || !ok2 {
		return
	}
	if before.UID != pod.UID {
		c.podLeft(before, true)
		c.podAdded(pod)
		return
	}
	was, is := metav1.GetControllerOfNoCopy(before), metav1.GetControllerOfNoCopy(pod)
	moved := (was == nil) != (is == nil) || was != nil && was.UID != is.UID
	if moved && was != nil {
		c.wake(before, was, !tracked(pod))
	}
	switch {
	case pod.DeletionTimestamp != nil:
		// Marked for deletion counts as deleted: a replacement need not wait for the last breath.
		c.podLeft(pod, false)
	case is != nil:
		c.wake(pod, is, !tracked(pod))
	case moved || !maps.Equal(before.Labels, pod.Labels):
		c.podFree(pod)
	case tracked(pod):
		c.orphans.Enqueue(pod)
	}
}

func (c *Controller) podGone(obj any) {
	if pod, ok := loop.Object[*corev1.Pod](obj); ok {
		c.podLeft(pod, true)
	}
}

// podLeft handles a pod that is being deleted, or is gone.
func (c *Controller) podLeft(pod *corev1.Pod, gone bool) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref != nil {
		if job := c.resolve(pod.Namespace, ref); job != nil && !finished(job) {
			c.expected.DeletionObserved(pod.Namespace+"/"+ref.Name, podKey(pod))
			c.wake(pod, ref, gone || !tracked(pod))
			return
		}
	}
	if tracked(pod) && (ref == nil || ofJob(ref)) {
		c.orphans.Enqueue(pod)
	}
}

// wake has the job of the pod looked at, and notes that the pod is seen without finalizer if so.
func (c *Controller) wake(pod *corev1.Pod, ref *metav1.OwnerReference, untracked bool) {
	if c.resolve(pod.Namespace, ref) == nil {
		return
	}
	key := pod.Namespace + "/" + ref.Name
	if untracked {
		c.released.seen(key, pod.UID)
	}
	c.loop.AddAfter(key, together)
}

// podFree handles a pod that nothing controls: jobs may adopt it, and if it was a job's, nobody will count it.
func (c *Controller) podFree(pod *corev1.Pod) {
	if tracked(pod) {
		c.orphans.Enqueue(pod)
	}
	if len(pod.Labels) == 0 {
		return
	}
	jobs, err := c.jobs.Jobs(pod.Namespace).List(labels.Everything())
	if err != nil {
		klog.ErrorS(err, "Failed to look for an owner of the pod", "pod", klog.KObj(pod))
		return
	}
	for _, job := range jobs {
		if owner.MayAdopt(job.Spec.Selector, pod.Labels) {
			c.loop.EnqueueAfter(job, together)
		}
	}
}

// letGoOf takes the finalizer from all pods of a job that ended or is gone.
func (c *Controller) letGoOf(job *batchv1.Job) {
	pods, err := podcontrol.Owned(c.pods.GetIndexer(), job)
	if err != nil {
		klog.ErrorS(err, "Failed to look for the pods of the job", "job", klog.KObj(job))
		return
	}
	for _, pod := range pods {
		if tracked(pod) {
			c.orphans.Enqueue(pod)
		}
	}
}

// letGo takes the tracking finalizer from a pod that no job is going to count. It is asked more often than needed and
// looks for itself.
func (c *Controller) letGo(ctx context.Context, key string) error {
	obj, exists, err := c.pods.GetIndexer().GetByKey(key)
	pod, ok := obj.(*corev1.Pod)
	if err != nil || !exists || !ok {
		return err
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if !ofJob(ref) {
			return nil
		}
		if job := c.resolve(pod.Namespace, ref); job != nil && (managedElsewhere(job) || !finished(job)) {
			return nil
		}
	}
	if err := c.untrack(ctx, pod); !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// resolve finds the job that a reference names, if it is still the same one.
func (c *Controller) resolve(namespace string, ref *metav1.OwnerReference) *batchv1.Job {
	if !ofJob(ref) {
		return nil
	}
	job, err := c.jobs.Jobs(namespace).Get(ref.Name)
	if err != nil || job.UID != ref.UID {
		return nil
	}
	return job
}

func ofJob(ref *metav1.OwnerReference) bool {
	return ref.Kind == kind.Kind && ref.APIVersion == batchv1.SchemeGroupVersion.String()
}

// SPDX-License-Identifier: Apache-2.0

// Package ttlafterfinished deletes jobs, and their pods with them, once ttlSecondsAfterFinished has passed since they
// ended. A job costs one timer and, when it is due, two requests.
package ttlafterfinished

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	batchinformers "k8s.io/client-go/informers/batch/v1"
	"k8s.io/client-go/kubernetes"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Controller deletes jobs that ended long enough ago.
type Controller struct {
	client kubernetes.Interface
	jobs   batchlisters.JobLister
	synced cache.InformerSynced
	loop   *loop.Loop
	now    func() time.Time
}

// New returns the controller.
func New(client kubernetes.Interface, jobs batchinformers.JobInformer) (*Controller, error) {
	c := &Controller{client: client, jobs: jobs.Lister(), synced: jobs.Informer().HasSynced, now: time.Now}
	c.loop = loop.New("ttlafterfinished", c.sync)
	changed := func(obj any) {
		if job, ok := obj.(*batchv1.Job); ok {
			if _, due := expiry(job); due {
				c.loop.Enqueue(job)
			}
		}
	}
	_, err := jobs.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, cur any) { changed(cur) }})
	return c, err
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	job, err := c.jobs.Jobs(namespace).Get(name)
	if err == nil {
		if wait, due := c.remaining(job); !due || wait > 0 {
			return later(wait)
		}
		// Somebody may have given the job more time just now, so the cache is not enough to delete it by.
		job, err = c.client.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read Job %s: %w", key, err)
	}
	if wait, due := c.remaining(job); !due || wait > 0 {
		return later(wait)
	}
	options := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground), Preconditions: metav1.NewUIDPreconditions(string(job.UID))}
	err = c.client.BatchV1().Jobs(job.Namespace).Delete(ctx, job.Name, options)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete Job %s/%s, which ended long ago: %w", job.Namespace, job.Name, err)
	}
	return nil
}

// remaining is how long the job has to stay; due is false if it stays for ever.
func (c *Controller) remaining(job *batchv1.Job) (wait time.Duration, due bool) {
	at, due := expiry(job)
	if !due {
		return 0, false
	}
	return at.Sub(c.now()), true
}

func later(wait time.Duration) error {
	if wait > 0 {
		return loop.RetryAfter(wait)
	}
	return nil
}

// expiry is when the job is to be deleted; due is false if it never is, or has not ended, or is being deleted.
func expiry(job *batchv1.Job) (at time.Time, due bool) {
	if job.Spec.TTLSecondsAfterFinished == nil || job.DeletionTimestamp != nil {
		return time.Time{}, false
	}
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second), true
		}
	}
	return time.Time{}, false
}

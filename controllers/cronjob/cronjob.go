// SPDX-License-Identifier: Apache-2.0

// Package cronjob starts the jobs of a CronJob when they are due, and keeps the last few of those that ended.
//
// Between two starts a cron job costs one timer. A sync, at each start and whenever one of its jobs changes, is one pass
// over the jobs of the namespace and the requests that change something.
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	batchinformers "k8s.io/client-go/informers/batch/v1"
	"k8s.io/client-go/kubernetes"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/ownwrites"
)

var kind = batchv1.SchemeGroupVersion.WithKind("CronJob")

// Controller starts jobs on schedule.
type Controller struct {
	client   kubernetes.Interface
	cronJobs batchlisters.CronJobLister
	jobs     batchlisters.JobLister
	synced   []cache.InformerSynced
	recorder record.EventRecorder
	written  ownwrites.Log
	loop     *loop.Loop
	now      func() time.Time
}

// New returns the controller.
func New(client kubernetes.Interface, cronJobs batchinformers.CronJobInformer, jobs batchinformers.JobInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client:   client,
		cronJobs: cronJobs.Lister(),
		jobs:     jobs.Lister(),
		synced:   []cache.InformerSynced{cronJobs.Informer().HasSynced, jobs.Informer().HasSynced},
		recorder: recorder,
		now:      time.Now,
	}
	c.loop = loop.New("cronjob", c.sync)
	_, errCronJobs := cronJobs.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: c.changed,
		DeleteFunc: c.loop.Enqueue,
	})
	_, errJobs := jobs.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: c.jobChanged,
		UpdateFunc: func(old, cur any) {
			c.jobChanged(old)
			c.jobChanged(cur)
		},
		DeleteFunc: c.jobChanged,
	})
	return c, errors.Join(errCronJobs, errJobs)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	cached, err := c.cronJobs.CronJobs(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.written.Forget(namespace, name)
		return nil
	}
	// Where our last write has not come back yet, the event that brings it will wake the cron job again.
	if err != nil || !c.written.Seen(cached) {
		return err
	}
	jobs, err := c.jobsOf(cached)
	if err != nil {
		return err
	}
	cj := cached.DeepCopy()
	for _, job := range outdated(cj, jobs) {
		// One that stays is tried again when a job changes next; it is no reason not to start another.
		if err := c.remove(ctx, cj, job); err != nil {
			klog.FromContext(ctx).Error(err, "Failed to delete an old job", "cronjob", klog.KObj(cj), "job", klog.KObj(job))
		}
	}
	wait, failed := c.reconcile(ctx, cj, jobs)
	if !equality.Semantic.DeepEqual(&cj.Status, &cached.Status) {
		updated, err := c.client.BatchV1().CronJobs(namespace).UpdateStatus(ctx, cj, metav1.UpdateOptions{})
		if err == nil {
			c.written.Wrote(updated)
		} else if !apierrors.IsNotFound(err) {
			failed = errors.Join(failed, fmt.Errorf("update status of CronJob %s: %w", key, err))
		}
	}
	if failed == nil && wait > 0 {
		return loop.RetryAfter(wait)
	}
	return failed
}

// reconcile brings the status up to date and starts a job if one is due. It returns when the next one is.
func (c *Controller) reconcile(ctx context.Context, cj *batchv1.CronJob, jobs []*batchv1.Job) (time.Duration, error) {
	notes, missing := observe(cj, jobs)
	c.record(cj, notes...)
	for _, ref := range missing {
		// The cache may not know yet what was started a moment ago.
		_, err := c.client.BatchV1().Jobs(cj.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			c.record(cj, normal("MissingJob", "Active job went missing: %v", ref.Name))
			drop(cj, ref.UID)
		} else if err != nil {
			return 0, fmt.Errorf("read Job %s/%s: %w", cj.Namespace, ref.Name, err)
		}
	}
	d := decide(cj, c.now())
	c.record(cj, d.notes...)
	if d.start.IsZero() {
		return d.wait, nil
	}
	if cj.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		if err := c.removeActive(ctx, cj); err != nil {
			return 0, err
		}
	}
	job, err := c.start(ctx, cj, d.start)
	if err != nil || job == nil {
		return d.wait, err
	}
	cj.Status.Active = append(cj.Status.Active, corev1.ObjectReference{
		Kind: "Job", APIVersion: batchv1.SchemeGroupVersion.String(), Namespace: job.Namespace, Name: job.Name, UID: job.UID, ResourceVersion: job.ResourceVersion,
	})
	cj.Status.LastScheduleTime = ptr.To(metav1.NewTime(d.start))
	s, err := schedule(cj)
	if err != nil {
		return 0, err
	}
	return untilNext(cj, s, c.now()), nil
}

// start creates the job for that time. It returns the one that exists if we made that and then failed to say so in the
// status, and nil if it is somebody else's.
func (c *Controller) start(ctx context.Context, cj *batchv1.CronJob, at time.Time) (*batchv1.Job, error) {
	wanted, err := newJob(cj, at)
	if err != nil {
		return nil, err
	}
	jobs := c.client.BatchV1().Jobs(cj.Namespace)
	job, err := jobs.Create(ctx, wanted, metav1.CreateOptions{})
	switch {
	case err == nil:
		c.record(cj, normal("SuccessfulCreate", "Created job %v", job.Name))
		return job, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil, err
	case !apierrors.IsAlreadyExists(err):
		c.record(cj, warning("FailedCreate", "Error creating job: %v", err))
		return nil, fmt.Errorf("create Job %s/%s: %w", cj.Namespace, wanted.Name, err)
	}
	if job, err = jobs.Get(ctx, wanted.Name, metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("read Job %s/%s: %w", cj.Namespace, wanted.Name, err)
	}
	if !metav1.IsControlledBy(job, cj) || isActive(cj, job.UID) {
		return nil, nil
	}
	return job, nil
}

// removeActive makes place for the next job.
func (c *Controller) removeActive(ctx context.Context, cj *batchv1.CronJob) error {
	for _, ref := range slices.Clone(cj.Status.Active) {
		job, err := c.client.BatchV1().Jobs(cj.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			c.record(cj, warning("FailedGet", "Get job: %v", err))
			return fmt.Errorf("read Job %s/%s: %w", cj.Namespace, ref.Name, err)
		}
		if err := c.remove(ctx, cj, job); err != nil {
			return fmt.Errorf("could not replace job %s/%s: %w", job.Namespace, job.Name, err)
		}
	}
	return nil
}

func (c *Controller) remove(ctx context.Context, cj *batchv1.CronJob, job *batchv1.Job) error {
	options := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
	switch err := c.client.BatchV1().Jobs(job.Namespace).Delete(ctx, job.Name, options); {
	case err == nil:
		c.record(cj, normal("SuccessfulDelete", "Deleted job %v", job.Name))
	case !apierrors.IsNotFound(err):
		c.record(cj, warning("FailedDelete", "Deleted job: %v", err))
		return err
	}
	drop(cj, job.UID)
	return nil
}

func (c *Controller) record(cj *batchv1.CronJob, notes ...note) {
	for _, n := range notes {
		c.recorder.Event(cj, n.kind, n.reason, n.message)
	}
}

func (c *Controller) jobsOf(cj *batchv1.CronJob) ([]*batchv1.Job, error) {
	all, err := c.jobs.Jobs(cj.Namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list the jobs of CronJob %s/%s: %w", cj.Namespace, cj.Name, err)
	}
	return slices.DeleteFunc(all, func(j *batchv1.Job) bool { return !metav1.IsControlledBy(j, cj) }), nil
}

// changed waits with a cron job whose schedule was changed until it is due: a new schedule does not make up for times that
// have passed.
func (c *Controller) changed(old, cur any) {
	before, ok1 := loop.Object[*batchv1.CronJob](old)
	cj, ok2 := loop.Object[*batchv1.CronJob](cur)
	if !ok1 || !ok2 {
		return
	}
	var delay time.Duration
	if before.Spec.Schedule != cj.Spec.Schedule || !ptr.Equal(before.Spec.TimeZone, cj.Spec.TimeZone) {
		s, err := schedule(cj)
		if err != nil {
			c.record(cj, warning("UnParseableCronJobSchedule", "unparseable schedule for cronjob: %s", cj.Spec.Schedule))
			return
		}
		delay = untilNext(cj, s, c.now())
	}
	c.loop.EnqueueAfter(cj, delay)
}

func (c *Controller) jobChanged(obj any) {
	job, ok := loop.Object[*batchv1.Job](obj)
	if !ok {
		return
	}
	ref := metav1.GetControllerOfNoCopy(job)
	if ref == nil || ref.Kind != kind.Kind {
		return
	}
	if cj, err := c.cronJobs.CronJobs(job.Namespace).Get(ref.Name); err == nil && cj.UID == ref.UID {
		c.loop.Enqueue(cj)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package job runs pods until a Job has as many successes as it asks for, or has failed.
//
// A sync costs one pass over the job's own pods, found by an index, ended ones included, and the requests that change
// something: one for each pod that is created or that has ended, and one or two for the status whatever the number of
// pods. What happens to a job's pods within a tenth of a second is handled in one sync.
//
// Files: state.go reads a job and its pods; verdict.go says whether that is the end; plan.go says which pods to create and
// delete; account.go counts pods that have ended. All of that is pure. This file does what they say.
package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	batchinformers "k8s.io/client-go/informers/batch/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/controllers/internal/expect"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/owner"
	"github.com/hivemind-project/hivemind/controllers/internal/ownwrites"
	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// together is how long a job waits for more to happen to its pods before it is worked on.
const together = 100 * time.Millisecond

var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// Controller runs jobs.
type Controller struct {
	client   kubernetes.Interface
	jobs     batchlisters.JobLister
	pods     cache.SharedIndexInformer
	synced   []cache.InformerSynced
	control  podcontrol.Control
	expected *expect.Expectations
	written  ownwrites.Log
	released releases
	failures records
	loop     *loop.Loop
	orphans  *loop.Loop
	now      func() time.Time
}

// New returns the controller.
func New(client kubernetes.Interface, jobs batchinformers.JobInformer, pods coreinformers.PodInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client:   client,
		jobs:     jobs.Lister(),
		pods:     pods.Informer(),
		synced:   []cache.InformerSynced{jobs.Informer().HasSynced, pods.Informer().HasSynced},
		control:  podcontrol.Control{Client: client, Recorder: recorder},
		expected: expect.New(),
		now:      time.Now,
	}
	c.loop, c.orphans = loop.New("job", c.sync), loop.New("job-orphans", c.letGo)
	errIndex := podcontrol.AddControllerIndex(c.pods)
	_, errJobs := jobs.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: c.jobChanged,
		DeleteFunc: c.jobGone,
	})
	_, errPods := c.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.podAdded,
		UpdateFunc: c.podChanged,
		DeleteFunc: c.podGone,
	})
	return c, errors.Join(errIndex, errJobs, errPods)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	c.loop.RunWith(ctx, workers, c.orphans, c.synced...)
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	cached, err := c.jobs.Jobs(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.forget(key)
		c.written.Forget(namespace, name)
		return nil
	}
	// Where our last write has not come back yet, the event that brings it will wake the job again.
	if err != nil || managedElsewhere(cached) || !c.written.Seen(cached) {
		return err
	}
	if finished(cached) {
		c.forget(key)
		return nil
	}
	job := cached.DeepCopy()
	if mode := ptr.Deref(job.Spec.CompletionMode, batchv1.NonIndexedCompletion); mode != batchv1.NonIndexedCompletion && mode != batchv1.IndexedCompletion {
		c.control.Recorder.Event(job, corev1.EventTypeWarning, "UnknownCompletionMode", "Skipped Job sync because completion mode is unknown")
		return nil
	}
	// Asked before the pods are listed: what is expected now may arrive in the cache while they are.
	satisfied := c.expected.Satisfied(key)
	pods, err := c.claim(ctx, job)
	if err != nil {
		return err
	}
	if job.Status.StartTime == nil && !suspended(job) {
		job.Status.StartTime = ptr.To(metav1.NewTime(c.now()))
	}
	s := observe(job, pods, c.released.of(key), c.failures.of(key), c.now())

	verdict, acted := c.act(ctx, key, s, satisfied)
	if err := c.track(ctx, key, s, verdict, cached.Status.DeepCopy()); !apierrors.IsNotFound(err) {
		return errors.Join(acted, err)
	}
	return acted // deleted meanwhile
}

// act deletes the pods of a job that is to end, and otherwise brings it to its number of pods. It returns the verdict that
// holds after that, and the first refusal.
func (c *Controller) act(ctx context.Context, key string, s *state, satisfied bool) (*batchv1.JobCondition, error) {
	job := s.job
	s.tell(len(s.active), s.ready, s.terminating)
	if verdict := s.verdict(); verdict != nil {
		// The finalizer stays, so that these pods are counted.
		deleted, err := c.delete(ctx, s, s.active, func(*corev1.Pod) error { return nil })
		if deleted != len(s.active) || !satisfied {
			return nil, err // not yet: pods are left, or may be without the cache knowing
		}
		return verdict, err
	}
	if left, limited := s.deadline(); limited {
		c.loop.AddAfter(key, left)
	}
	var err error
	manage := satisfied && job.DeletionTimestamp == nil
	if manage {
		err = c.carryOut(ctx, key, s, s.plan())
	}
	verdict := s.completed(job.Status.Active)
	if verdict == nil && manage {
		if reason, message, changed := s.settleSuspension(); changed {
			c.control.Recorder.Event(job, corev1.EventTypeNormal, reason, message)
		}
	}
	return verdict, err
}

func (c *Controller) carryOut(ctx context.Context, key string, s *state, p plan) error {
	if p.wait > 0 {
		c.loop.AddAfter(key, p.wait)
	}
	if len(p.remove) > 0 {
		keys := make([]string, len(p.remove))
		for i, pod := range p.remove {
			keys[i] = podKey(pod)
		}
		c.expected.ExpectDeletions(key, keys)
		// A pod that is not needed has not failed: without the finalizer it is not counted.
		_, err := c.delete(ctx, s, p.remove, func(pod *corev1.Pod) error { return c.untrack(ctx, pod) })
		return err
	}
	n := len(p.create)
	if n == 0 {
		return nil
	}
	c.expected.ExpectCreations(key, n)
	created, err := podcontrol.SlowStart(n, func(i int) error {
		index := p.create[i]
		_, err := c.control.Create(ctx, s.job, newPod(s.job, index, s.held[index]))
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil // every other attempt would fail as well, and the job will soon be gone
		}
		return err
	})
	c.expected.CreationsObserved(key, n-created)
	s.tell(len(s.active)+created, s.ready, s.terminating)
	return err
}

// delete deletes pods of the job after preparing each, and returns how many are gone or going, with the first refusal.
func (c *Controller) delete(ctx context.Context, s *state, pods []*corev1.Pod, prepare func(*corev1.Pod) error) (int, error) {
	key := s.job.Namespace + "/" + s.job.Name
	gone := make([]bool, len(pods))
	errs := podcontrol.Parallel(len(pods), func(i int) error {
		err := prepare(pods[i])
		if err == nil {
			err = c.control.Delete(ctx, s.job, pods[i])
		}
		if err != nil {
			c.expected.DeletionObserved(key, podKey(pods[i]))
		}
		if gone[i] = err == nil || apierrors.IsNotFound(err); gone[i] {
			return nil
		}
		return err
	})
	deleted, ready := 0, s.ready
	for i, pod := range pods {
		if !gone[i] {
			continue
		}
		deleted++
		if podstate.Ready(pod) {
			ready--
		}
	}
	s.tell(len(s.active)-deleted, ready, s.terminating+int32(deleted))
	if len(errs) > 0 {
		return deleted, errs[0]
	}
	return deleted, nil
}

// track counts pods that have ended, and ends the job with the verdict once all are counted. stored is the status that the
// server has.
func (c *Controller) track(ctx context.Context, key string, s *state, verdict *batchv1.JobCondition, stored *batchv1.JobStatus) error {
	a := s.account(verdict)
	job, err := c.store(ctx, s.job, stored)
	if err != nil {
		return err
	}
	c.failures.set(key, s.failures)

	gone := make([]bool, len(a.release))
	errs := podcontrol.Parallel(len(a.release), func(i int) error {
		pod := a.release[i]
		c.released.add(key, pod.UID)
		err := c.untrack(ctx, pod)
		if err != nil {
			c.released.seen(key, pod.UID)
		}
		if gone[i] = err == nil || apierrors.IsNotFound(err); gone[i] {
			return nil
		}
		return err
	})
	for i, pod := range a.release {
		if gone[i] {
			a.tracked.Delete(pod.UID)
		}
	}
	stored = job.Status.DeepCopy()
	settle(&job.Status, a.tracked)
	ended := len(errs) == 0 && !a.full && finish(job, a.last)
	if job, err = c.store(ctx, job, stored); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if ended {
		c.announce(job, a.last)
	}
	return errors.Join(errs...)
}

// announce records how the job ended.
func (c *Controller) announce(job *batchv1.Job, last *batchv1.JobCondition) {
	if last.Type != batchv1.JobComplete {
		c.control.Recorder.Event(job, corev1.EventTypeWarning, last.Reason, last.Message)
		return
	}
	if n := job.Spec.Completions; n != nil && job.Status.Succeeded > *n {
		c.control.Recorder.Event(job, corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
	}
	c.control.Recorder.Event(job, corev1.EventTypeNormal, "Completed", "Job completed")
}

// store writes the status if it is not what the server has. A conflict is an error: counts belong to the version they were
// made from.
func (c *Controller) store(ctx context.Context, job *batchv1.Job, stored *batchv1.JobStatus) (*batchv1.Job, error) {
	if equality.Semantic.DeepEqual(&job.Status, stored) {
		return job, nil
	}
	updated, err := c.client.BatchV1().Jobs(job.Namespace).UpdateStatus(ctx, job, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("update status of Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	c.written.Wrote(updated)
	return updated, nil
}

// untrack takes the tracking finalizer from the pod.
func (c *Controller) untrack(ctx context.Context, pod *corev1.Pod) error {
	if !tracked(pod) {
		return nil
	}
	if err := c.control.Patch(ctx, pod, []byte(untrack)); err != nil {
		return fmt.Errorf("removing tracking finalizer: %w", err)
	}
	return nil
}

// claim returns the pods of the job, ended ones included, after adopting and releasing. What is adopted is tracked.
func (c *Controller) claim(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of Job %s/%s: %w", job.Namespace, job.Name, err)
	}
	pods, err := podcontrol.OwnedOrFree(c.pods.GetIndexer(), job)
	if err != nil {
		return nil, err
	}
	claimer := owner.Claimer[*corev1.Pod]{
		Owner: job, Kind: kind, Selector: selector, Finalizers: []string{batchv1.JobTrackingFinalizer},
		Live: func(ctx context.Context) (metav1.Object, error) {
			return c.client.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
		},
		Patch: c.control.Patch,
	}
	pods, err = claimer.Claim(ctx, pods)
	for i, pod := range pods {
		if metav1.GetControllerOfNoCopy(pod) == nil && !tracked(pod) {
			pods[i] = pod.DeepCopy()
			pods[i].Finalizers = append(pods[i].Finalizers, batchv1.JobTrackingFinalizer)
		}
	}
	return pods, err
}

func (c *Controller) forget(key string) {
	c.expected.Forget(key)
	c.released.forget(key)
	c.failures.set(key, failures{})
}

// tell writes the numbers of pods into the status.
func (s *state) tell(active int, ready, terminating int32) {
	status := &s.job.Status
	status.Active, status.Ready, status.Terminating = int32(active), &ready, &terminating
}

// managedElsewhere reports whether another controller runs the job (KEP-4368).
func managedElsewhere(job *batchv1.Job) bool {
	return job.Spec.ManagedBy != nil && *job.Spec.ManagedBy != batchv1.JobControllerName
}

func podKey(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

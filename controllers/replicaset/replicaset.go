// SPDX-License-Identifier: Apache-2.0

// Package replicaset keeps the number of pods that a ReplicaSet or a ReplicationController asks for.
//
// A sync costs one pass over the set's own pods, found by an index, and the requests that change something: at most 500
// pods at a time, several requests under way at once. Between its own writes and the events that tell of them a set is
// left alone (see internal/expect), so that a slow cache never makes too many pods.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/expect"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/owner"
	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// Controller keeps sets of one kind at their size.
type Controller struct {
	kind     kind
	pods     cache.SharedIndexInformer
	control  podcontrol.Control
	expected *expect.Expectations
	loop     *loop.Loop
	now      func() time.Time
}

// New returns the controller of ReplicaSets.
func New(client kubernetes.Interface, sets appsinformers.ReplicaSetInformer, pods coreinformers.PodInformer, recorder record.EventRecorder) (*Controller, error) {
	return newController(replicaSets(client, sets), client, pods, recorder)
}

// NewForReplicationControllers returns the controller of ReplicationControllers.
func NewForReplicationControllers(client kubernetes.Interface, rcs coreinformers.ReplicationControllerInformer, pods coreinformers.PodInformer, recorder record.EventRecorder) (*Controller, error) {
	return newController(replicationControllers(client, rcs), client, pods, recorder)
}

func newController(k kind, client kubernetes.Interface, pods coreinformers.PodInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		kind:     k,
		pods:     pods.Informer(),
		control:  podcontrol.Control{Client: client, Recorder: recorder},
		expected: expect.New(),
		now:      time.Now,
	}
	c.loop = loop.New(k.name, c.sync)
	errIndex := podcontrol.AddControllerIndex(c.pods)
	_, errSets := k.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: c.setChanged,
		DeleteFunc: c.setGone,
	})
	_, errPods := c.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.podAdded,
		UpdateFunc: c.podChanged,
		DeleteFunc: c.podGone,
	})
	return c, errors.Join(errIndex, errSets, errPods)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	c.loop.Run(ctx, workers, c.kind.informer.HasSynced, c.pods.HasSynced)
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	rs, err := c.kind.get(namespace, name)
	if apierrors.IsNotFound(err) {
		c.expected.Forget(key)
		return nil
	}
	if err != nil {
		return err
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return fmt.Errorf("selector of %s %s: %w", c.kind.Kind, key, err)
	}
	// Asked before the pods are listed: what is expected now may arrive in the cache while they are.
	satisfied := c.expected.Satisfied(key)
	active, terminating, err := c.claim(ctx, rs, selector)
	if err != nil {
		return err
	}

	var failed error
	if satisfied && rs.DeletionTimestamp == nil {
		failed = c.scale(ctx, key, rs, active)
	}
	now := c.now()
	rs, err = c.writeStatus(ctx, rs, statusOf(rs, active, terminating, failed, now))
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile
	}
	if err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	if rs.Spec.MinReadySeconds > 0 && rs.Status.ReadyReplicas != rs.Status.AvailableReplicas {
		wait := podstate.NextAvailable(active, rs.Spec.MinReadySeconds, now)
		if wait == 0 {
			wait = time.Duration(rs.Spec.MinReadySeconds) * time.Second
		}
		c.loop.AddAfter(key, wait)
	}
	return nil
}

// claim returns the active and the terminating pods of rs. terminating is nil where the kind does not count them.
func (c *Controller) claim(ctx context.Context, rs *appsv1.ReplicaSet, selector labels.Selector) (active, terminating []*corev1.Pod, err error) {
	pods, err := podcontrol.OwnedOrFree(c.pods.GetIndexer(), rs)
	if err != nil {
		return nil, nil, err
	}
	if c.kind.terminating {
		terminating = []*corev1.Pod{}
	}
	candidates := make([]*corev1.Pod, 0, len(pods))
	for _, pod := range pods {
		switch {
		case podstate.Active(pod):
			candidates = append(candidates, pod)
		case c.kind.terminating && podstate.Terminating(pod) && metav1.IsControlledBy(pod, rs) && selector.Matches(labels.Set(pod.Labels)):
			terminating = append(terminating, pod)
		}
	}
	claimer := owner.Claimer[*corev1.Pod]{
		Owner: rs, Kind: c.kind.GroupVersionKind, Selector: selector,
		Live: func(ctx context.Context) (metav1.Object, error) {
			return c.kind.live(ctx, rs.Namespace, rs.Name)
		},
		Patch: c.control.Patch,
	}
	active, err = claimer.Claim(ctx, candidates)
	return active, terminating, err
}

// scale creates or deletes pods, and returns the first refusal.
func (c *Controller) scale(ctx context.Context, key string, rs *appsv1.ReplicaSet, active []*corev1.Pod) error {
	p := decide(rs, active, func() []*corev1.Pod { return c.related(rs) }, c.now())
	subject, ok := c.kind.original(rs).(podcontrol.Owner)
	if !ok {
		return fmt.Errorf("%s %s has no metadata", c.kind.Kind, key)
	}
	if p.create > 0 {
		c.expected.ExpectCreations(key, p.create)
		ref := metav1.NewControllerRef(rs, c.kind.GroupVersionKind)
		created, err := podcontrol.SlowStart(p.create, func(int) error {
			_, err := c.control.Create(ctx, subject, podcontrol.FromTemplate(&rs.Spec.Template, rs, ref))
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				return nil // every other attempt would fail as well, and the set will soon be gone
			}
			return err
		})
		c.expected.CreationsObserved(key, p.create-created)
		return err
	}
	if len(p.remove) > 0 {
		keys := make([]string, len(p.remove))
		for i, pod := range p.remove {
			keys[i] = podKey(pod)
		}
		c.expected.ExpectDeletions(key, keys)
		errs := podcontrol.Parallel(len(p.remove), func(i int) error {
			err := c.control.Delete(ctx, subject, p.remove[i])
			if err == nil {
				return nil
			}
			c.expected.DeletionObserved(key, keys[i])
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
		if len(errs) > 0 {
			return errs[0]
		}
	}
	return nil
}

// related returns the pods of all sets that have the same owner as rs.
func (c *Controller) related(rs *appsv1.ReplicaSet) []*corev1.Pod {
	ref := metav1.GetControllerOfNoCopy(rs)
	if ref == nil {
		return nil
	}
	sets, err := c.kind.list(rs.Namespace)
	if err != nil {
		return nil
	}
	var related []*corev1.Pod
	for _, other := range sets {
		if o := metav1.GetControllerOfNoCopy(other); o == nil || o.UID != ref.UID {
			continue
		}
		// What cannot be counted only makes the spreading less even.
		if pods, err := podcontrol.Owned(c.pods.GetIndexer(), other); err == nil {
			related = append(related, pods...)
		}
	}
	return related
}

// writeStatus stores the status if it is new. The counts are those of this moment whatever version of the object they are
// written to, so one conflict is resolved on the spot.
func (c *Controller) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) (*appsv1.ReplicaSet, error) {
	if sameStatus(&rs.Status, &status) {
		return rs, nil
	}
	next := *rs
	next.Status = status
	updated, err := c.kind.updateStatus(ctx, &next)
	if apierrors.IsConflict(err) {
		live, errLive := c.kind.live(ctx, rs.Namespace, rs.Name)
		if errLive != nil {
			return nil, fmt.Errorf("update status of %s %s/%s: %w", c.kind.Kind, rs.Namespace, rs.Name, errLive)
		}
		live.Status = status
		updated, err = c.kind.updateStatus(ctx, live)
	}
	if err != nil {
		return nil, fmt.Errorf("update status of %s %s/%s: %w", c.kind.Kind, rs.Namespace, rs.Name, err)
	}
	return updated, nil
}

func (c *Controller) setChanged(old, cur any) {
	before, ok1 := c.kind.fromObject(old)
	after, ok2 := c.kind.fromObject(cur)
	if ok1 && ok2 && before.UID != after.UID {
		c.setGone(old) // deleted and made again while nobody watched
	}
	c.loop.Enqueue(cur)
}

func (c *Controller) setGone(obj any) {
	if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
		c.expected.Forget(key)
		c.loop.Add(key)
	}
}

func (c *Controller) podAdded(obj any) {
	pod, ok := loop.Object[*corev1.Pod](obj)
	if !ok {
		return
	}
	if pod.DeletionTimestamp != nil {
		c.podGone(pod) // after a restart: not a creation that somebody waits for
		return
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if key, _, ok := c.resolve(pod.Namespace, ref); ok {
			c.expected.CreationObserved(key)
			c.loop.Add(key)
		}
		return
	}
	c.enqueueMatching(pod)
}

func (c *Controller) podChanged(old, cur any) {
	before, ok1 := loop.Object[*corev1.Pod](old)
	after, ok2 := loop.Object[*corev1.Pod](cur)
	if !ok1 || !ok2 {
		return
	}
	if before.UID != after.UID {
		c.podGone(before)
		c.podAdded(after)
		return
	}
	if after.DeletionTimestamp != nil {
		// Marked for deletion counts as deleted: a replacement need not wait for the last breath.
		c.podGone(after)
		return
	}
	was, is := metav1.GetControllerOfNoCopy(before), metav1.GetControllerOfNoCopy(after)
	moved := (was == nil) != (is == nil) || (was != nil && is != nil && was.UID != is.UID)
	if moved && was != nil {
		if key, _, ok := c.resolve(before.Namespace, was); ok {
			c.loop.Add(key)
		}
	}
	if is != nil {
		if key, rs, ok := c.resolve(after.Namespace, is); ok {
			c.loop.Add(key)
			if rs.Spec.MinReadySeconds > 0 && !podstate.Ready(before) && podstate.Ready(after) {
				c.loop.AddAfter(key, time.Duration(rs.Spec.MinReadySeconds)*time.Second)
			}
		}
		return
	}
	if moved || !maps.Equal(before.Labels, after.Labels) {
		c.enqueueMatching(after)
	}
}

func (c *Controller) podGone(obj any) {
	pod, ok := loop.Object[*corev1.Pod](obj)
	if !ok {
		return
	}
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil {
		return
	}
	if key, _, ok := c.resolve(pod.Namespace, ref); ok {
		c.expected.DeletionObserved(key, podKey(pod))
		c.loop.Add(key)
	}
}

// enqueueMatching wakes the sets that may adopt the pod.
func (c *Controller) enqueueMatching(pod *corev1.Pod) {
	if len(pod.Labels) == 0 {
		return
	}
	sets, err := c.kind.list(pod.Namespace)
	if err != nil {
		klog.ErrorS(err, "Failed to look for an owner of the pod", "pod", klog.KObj(pod))
		return
	}
	for _, rs := range sets {
		if owner.MayAdopt(rs.Spec.Selector, pod.Labels) {
			c.loop.Enqueue(rs)
		}
	}
}

// resolve finds the set that a reference names, if it is of this kind and still the same one.
func (c *Controller) resolve(namespace string, ref *metav1.OwnerReference) (string, *appsv1.ReplicaSet, bool) {
	if ref.Kind != c.kind.Kind {
		return "", nil, false
	}
	rs, err := c.kind.get(namespace, ref.Name)
	if err != nil || rs.UID != ref.UID {
		return "", nil, false
	}
	return namespace + "/" + ref.Name, rs, true
}

func podKey(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

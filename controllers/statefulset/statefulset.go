// SPDX-License-Identifier: Apache-2.0

// Package statefulset keeps pods with names and volumes of their own: created in order, deleted in reverse, replaced one
// by one when the template changes.
//
// A sync reads the set's own pods by an index and its revisions, decides by pure functions (plan.go), and makes as many
// requests as there are steps: one at a time for ordered sets, all at once for parallel ones. Since a pod's name says
// which one it is, a cache that is behind cannot make it do anything twice.
package statefulset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/hivemind-project/hivemind/controllers/internal/history"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/owner"
	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

var kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// behind is how long a set waits for the cache to show a pod that it made.
const behind = 50 * time.Millisecond

// Controller keeps StatefulSets.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	sets     appslisters.StatefulSetLister
	claims   corelisters.PersistentVolumeClaimLister
	pods     cache.Indexer
	history  *history.History
	synced   []cache.InformerSynced
	loop     *loop.Loop
	now      func() time.Time
}

// New returns the controller.
func New(client kubernetes.Interface, sets appsinformers.StatefulSetInformer, revisions appsinformers.ControllerRevisionInformer, pods coreinformers.PodInformer, claims coreinformers.PersistentVolumeClaimInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client:   client,
		recorder: recorder,
		sets:     sets.Lister(),
		claims:   claims.Lister(),
		pods:     pods.Informer().GetIndexer(),
		history:  &history.History{Client: client, Revisions: revisions.Lister(), Kind: kind, Hash: history.DataHash, Label: history.HashLabel},
		synced: []cache.InformerSynced{sets.Informer().HasSynced, revisions.Informer().HasSynced,
			pods.Informer().HasSynced, claims.Informer().HasSynced},
		now: time.Now,
	}
	c.loop = loop.New("statefulset", c.sync)
	errIndex := podcontrol.AddControllerIndex(pods.Informer())
	_, errSets := sets.Informer().AddEventHandler(c.loop.Handler())
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.podSeen,
		UpdateFunc: func(old, cur any) { c.podMoved(old, cur); c.podSeen(cur) },
		DeleteFunc: c.podSeen,
	})
	return c, errors.Join(errIndex, errSets, errPods)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	set, err := c.sets.StatefulSets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return fmt.Errorf("selector of StatefulSet %s: %w", key, err)
	}
	live := func(ctx context.Context) (metav1.Object, error) {
		return c.client.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	revisions, err := c.history.List(ctx, set, selector, live)
	if err != nil {
		return err
	}
	pods, err := c.claimPods(ctx, set, selector, live)
	if err != nil {
		return err
	}
	var collisions int32
	if set.Status.CollisionCount != nil {
		collisions = *set.Status.CollisionCount
	}
	update, err := c.history.Current(ctx, set, &set.Spec.Template, revisions, &collisions)
	if err != nil {
		return err
	}
	current := update
	for _, r := range revisions {
		if r.Name == set.Status.CurrentRevision {
			current = r
		}
	}

	now := c.now()
	w := newWorld(set, pods, current, update, now)
	status := w.status(collisions)
	var failed error
	if set.DeletionTimestamp == nil {
		failed = c.do(ctx, set, w.plan())
	}
	if err := c.writeStatus(ctx, set, status); err != nil {
		return errors.Join(failed, err)
	}
	inUse := map[string]bool{current.Name: true, update.Name: true}
	for _, pod := range pods {
		inUse[pod.Labels[appsv1.StatefulSetRevisionLabel]] = true
	}
	err = c.history.Truncate(ctx, revisions, set.Spec.RevisionHistoryLimit, func(r history.Revision) bool { return inUse[r.Name] })
	if failed != nil || err != nil {
		return errors.Join(failed, err)
	}
	if set.Spec.MinReadySeconds > 0 && status.ReadyReplicas != status.AvailableReplicas {
		wait := podstate.NextAvailable(pods, set.Spec.MinReadySeconds, now)
		if wait == 0 {
			wait = time.Duration(set.Spec.MinReadySeconds) * time.Second
		}
		c.loop.AddAfter(key, wait)
	}
	return nil
}

func (c *Controller) claimPods(ctx context.Context, set *appsv1.StatefulSet, selector labels.Selector, live func(context.Context) (metav1.Object, error)) ([]*corev1.Pod, error) {
	all, err := podcontrol.OwnedOrFree(c.pods, set)
	if err != nil {
		return nil, err
	}
	var members []*corev1.Pod
	for _, pod := range all {
		// A free pod that is not named like one of the set's is none of its business.
		if _, ok := ordinal(set, pod.Name); ok || metav1.IsControlledBy(pod, set) {
			members = append(members, pod)
		}
	}
	claimer := owner.Claimer[*corev1.Pod]{
		Owner: set, Kind: kind, Selector: selector, Live: live,
		Patch: podcontrol.Control{Client: c.client, Recorder: c.recorder}.Patch,
	}
	return claimer.Claim(ctx, members)
}

// do takes the steps, in order or all at once.
func (c *Controller) do(ctx context.Context, set *appsv1.StatefulSet, p plan) error {
	if !p.ordered {
		_, err := podcontrol.SlowStart(len(p.steps), func(i int) error { return c.step(ctx, set, p.steps[i]) })
		return err
	}
	for _, s := range p.steps {
		if err := c.step(ctx, set, s); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) step(ctx context.Context, set *appsv1.StatefulSet, s step) error {
	api := c.client.CoreV1().Pods(set.Namespace)
	switch s.verb {
	case create:
		if c.leavingClaim(set, s.pod) {
			return loop.RetryAfter(time.Second)
		}
		if err := c.ensureClaims(ctx, set, s.pod); err != nil {
			return c.record(set, s, err)
		}
		_, err := api.Create(ctx, s.pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			if there, errGet := api.Get(ctx, s.pod.Name, metav1.GetOptions{}); errGet == nil && metav1.IsControlledBy(there, set) {
				return loop.RetryAfter(behind)
			}
		}
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return err
		}
		return c.record(set, s, err)
	case remove:
		options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(s.pod.UID))}
		err := api.Delete(ctx, s.pod.Name, options)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return c.record(set, s, err)
	case mend:
		if err := c.ensureClaims(ctx, set, s.pod); err != nil {
			return c.record(set, s, err)
		}
		_, err := api.Update(ctx, s.pod, metav1.UpdateOptions{})
		return c.record(set, s, err)
	case tend:
		return c.ensureClaims(ctx, set, s.pod)
	}
	return fmt.Errorf("pod %s/%s: unknown step %q", set.Namespace, s.pod.Name, s.verb)
}

// record tells of a step in an event, and returns its error.
func (c *Controller) record(set *appsv1.StatefulSet, s step, err error) error {
	if err != nil {
		c.recorder.Eventf(set, corev1.EventTypeWarning, "Failed"+string(s.verb), "%s Pod %s in StatefulSet %s failed error: %s", s.verb, s.pod.Name, set.Name, err)
		return fmt.Errorf("%s pod %s/%s: %w", s.verb, set.Namespace, s.pod.Name, err)
	}
	c.recorder.Eventf(set, corev1.EventTypeNormal, "Successful"+string(s.verb), "%s Pod %s in StatefulSet %s successful", s.verb, s.pod.Name, set.Name)
	return nil
}

func (c *Controller) writeStatus(ctx context.Context, set *appsv1.StatefulSet, status appsv1.StatefulSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	next := *set
	next.Status = status
	_, err := c.client.AppsV1().StatefulSets(set.Namespace).UpdateStatus(ctx, &next, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status of StatefulSet %s/%s: %w", set.Namespace, set.Name, err)
	}
	return nil
}

// podSeen wakes the set of a pod, or those that may adopt it.
func (c *Controller) podSeen(obj any) {
	pod, ok := loop.Object[*corev1.Pod](obj)
	if !ok {
		return
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		c.enqueueOwner(pod.Namespace, ref)
		return
	}
	if len(pod.Labels) == 0 {
		return
	}
	all, err := c.sets.StatefulSets(pod.Namespace).List(labels.Everything())
	if err != nil {
		return
	}
	for _, set := range all {
		if owner.MayAdopt(set.Spec.Selector, pod.Labels) {
			c.loop.Enqueue(set)
		}
	}
}

// podMoved wakes the set that a pod belonged to before.
func (c *Controller) podMoved(old, cur any) {
	before, ok1 := loop.Object[*corev1.Pod](old)
	after, ok2 := loop.Object[*corev1.Pod](cur)
	if !ok1 || !ok2 {
		return
	}
	if was := owner.Left(before, after); was != nil {
		c.enqueueOwner(before.Namespace, was)
	}
}

func (c *Controller) enqueueOwner(namespace string, ref *metav1.OwnerReference) {
	if ref.Kind != kind.Kind {
		return
	}
	if set, err := c.sets.StatefulSets(namespace).Get(ref.Name); err == nil && set.UID == ref.UID {
		c.loop.Enqueue(set)
	}
}

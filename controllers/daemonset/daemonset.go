// SPDX-License-Identifier: Apache-2.0

// Package daemonset keeps one pod on every node that a DaemonSet's template fits.
//
// A sync looks at every node and at the set's own pods once, so it costs the number of nodes; changes of nodes that touch
// neither labels nor taints wake nobody. Between its own writes and the events that tell of them a set is left alone.
package daemonset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	"k8s.io/client-go/util/flowcontrol"

	"github.com/hivemind-project/hivemind/controllers/internal/expect"
	"github.com/hivemind-project/hivemind/controllers/internal/history"
	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/owner"
	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

const (
	// burst is how many pods are created or deleted in one go.
	burst = 250
	// A pod that failed is replaced after a second, then after two, and so on up to the longest wait.
	failedWait    = time.Second
	failedMaxWait = 15 * time.Minute
)

// Controller keeps DaemonSets.
type Controller struct {
	client   kubernetes.Interface
	control  podcontrol.Control
	sets     appslisters.DaemonSetLister
	nodes    corelisters.NodeLister
	pods     cache.Indexer
	history  *history.History
	synced   []cache.InformerSynced
	expected *expect.Expectations
	backoff  *flowcontrol.Backoff
	loop     *loop.Loop
	now      func() time.Time
}

// New returns the controller.
func New(client kubernetes.Interface, sets appsinformers.DaemonSetInformer, revisions appsinformers.ControllerRevisionInformer, pods coreinformers.PodInformer, nodes coreinformers.NodeInformer, recorder record.EventRecorder) (*Controller, error) {
	c := &Controller{
		client:   client,
		control:  podcontrol.Control{Client: client, Recorder: recorder},
		sets:     sets.Lister(),
		nodes:    nodes.Lister(),
		pods:     pods.Informer().GetIndexer(),
		history:  &history.History{Client: client, Revisions: revisions.Lister(), Kind: kind, Hash: revisionHash, Label: appsv1.DefaultDaemonSetUniqueLabelKey},
		synced:   []cache.InformerSynced{sets.Informer().HasSynced, revisions.Informer().HasSynced, pods.Informer().HasSynced, nodes.Informer().HasSynced},
		expected: expect.New(),
		backoff:  flowcontrol.NewBackOff(failedWait, failedMaxWait),
		now:      time.Now,
	}
	c.loop = loop.New("daemonset", c.sync)
	errIndex := podcontrol.AddControllerIndex(pods.Informer())
	_, errSets := sets.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.loop.Enqueue,
		UpdateFunc: func(_, cur any) { c.loop.Enqueue(cur) },
		DeleteFunc: func(obj any) {
			if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				c.expected.Forget(key)
			}
		},
	})
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.podAdded,
		UpdateFunc: c.podChanged,
		DeleteFunc: c.podGone,
	})
	_, errNodes := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.enqueueAll() },
		UpdateFunc: c.nodeChanged,
		DeleteFunc: func(any) { c.enqueueAll() },
	})
	return c, errors.Join(errIndex, errSets, errPods, errNodes)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced...) }

// revisionHash is the same as the hash on the pods.
func revisionHash(template *corev1.PodTemplateSpec, _ []byte, collisions int32) string {
	if collisions == 0 {
		return podcontrol.TemplateHash(template, nil)
	}
	return podcontrol.TemplateHash(template, &collisions)
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	ds, err := c.sets.DaemonSets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.expected.Forget(key)
		return nil
	}
	if err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(ds.Spec.Selector, &metav1.LabelSelector{}) {
		c.control.Recorder.Event(ds, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return nil
	}
	if ds.DeletionTimestamp != nil {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(ds.Spec.Selector)
	if err != nil {
		return fmt.Errorf("selector of DaemonSet %s: %w", key, err)
	}
	live := func(ctx context.Context) (metav1.Object, error) {
		return c.client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	revisions, err := c.history.List(ctx, ds, selector, live)
	if err != nil {
		return err
	}
	var collisions int32
	if ds.Status.CollisionCount != nil {
		collisions = *ds.Status.CollisionCount
	}
	current, err := c.history.Current(ctx, ds, &ds.Spec.Template, revisions, &collisions)
	if err != nil {
		return err
	}
	// Asked before the pods are listed: what is expected now may arrive in the cache while they are.
	satisfied := c.expected.Satisfied(key)
	pods, err := c.claim(ctx, ds, selector, live)
	if err != nil {
		return err
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	w := newWorld(ds, nodes, pods, current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey], c.now())

	var failed error
	if satisfied {
		do := w.manage(func(pod *corev1.Pod) time.Duration { return c.replaceAfter(ds, pod) })
		if len(do.create)+len(do.remove) == 0 && ds.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
			do = w.roll(do)
		}
		if do.again > 0 {
			c.loop.AddAfter(key, do.again)
		}
		failed = c.do(ctx, key, ds, w.hash, do)
	}
	status := w.status(satisfied, collisions)
	if err := c.writeStatus(ctx, ds, status); err != nil {
		return errors.Join(failed, err)
	}
	inUse := map[string]bool{w.hash: true}
	for _, pod := range pods {
		inUse[pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]] = true
	}
	err = c.history.Truncate(ctx, revisions, ds.Spec.RevisionHistoryLimit, func(r history.Revision) bool {
		return inUse[r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]]
	})
	if failed != nil || err != nil {
		return errors.Join(failed, err)
	}
	if ds.Spec.MinReadySeconds > 0 && status.NumberReady != status.NumberAvailable {
		wait := podstate.NextAvailable(pods, ds.Spec.MinReadySeconds, w.now)
		if wait == 0 {
			wait = time.Duration(ds.Spec.MinReadySeconds) * time.Second
		}
		c.loop.AddAfter(key, wait)
	}
	return nil
}

func (c *Controller) claim(ctx context.Context, ds *appsv1.DaemonSet, selector labels.Selector, live func(context.Context) (metav1.Object, error)) ([]*corev1.Pod, error) {
	pods, err := podcontrol.OwnedOrFree(c.pods, ds)
	if err != nil {
		return nil, err
	}
	claimer := owner.Claimer[*corev1.Pod]{Owner: ds, Kind: kind, Selector: selector, Live: live, Patch: c.control.Patch}
	claimed, err := claimer.Claim(ctx, pods)
	return slices.DeleteFunc(claimed, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil && podstate.Terminal(p) }), err
}

// replaceAfter is how long a failed pod has to stay yet: a node that rejects pods would otherwise be asked without end.
func (c *Controller) replaceAfter(ds *appsv1.DaemonSet, pod *corev1.Pod) time.Duration {
	id := fmt.Sprintf("%s/%d/%s", ds.UID, ds.Status.ObservedGeneration, nodeOf(pod))
	now := c.backoff.Clock.Now()
	if c.backoff.IsInBackOffSinceUpdate(id, now) {
		return c.backoff.Get(id)
	}
	c.backoff.GC()
	c.backoff.Next(id, now)
	c.control.Recorder.Eventf(ds, corev1.EventTypeWarning, "FailedDaemonPod",
		"Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, nodeOf(pod))
	return 0
}

// do creates and deletes pods, and returns the first refusal.
func (c *Controller) do(ctx context.Context, key string, ds *appsv1.DaemonSet, hash string, do actions) error {
	do.create, do.remove = do.create[:min(burst, len(do.create))], do.remove[:min(burst, len(do.remove))]
	if len(do.create)+len(do.remove) == 0 {
		return nil
	}
	keys := make([]string, len(do.remove))
	for i, pod := range do.remove {
		keys[i] = pod.Namespace + "/" + pod.Name
	}
	c.expected.Expect(key, len(do.create), keys)
	template := podTemplate(ds, hash)
	ref := metav1.NewControllerRef(ds, kind)
	created, err := podcontrol.SlowStart(len(do.create), func(i int) error {
		pod := podcontrol.FromTemplate(template, ds, ref)
		pod.Spec.Affinity = toNode(pod.Spec.Affinity, do.create[i])
		_, err := c.control.Create(ctx, ds, pod)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return err
	})
	c.expected.CreationsObserved(key, len(do.create)-created)
	errs := podcontrol.Parallel(len(do.remove), func(i int) error {
		err := c.control.Delete(ctx, ds, do.remove[i])
		if err == nil {
			return nil
		}
		c.expected.DeletionObserved(key, keys[i])
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err == nil && len(errs) > 0 {
		err = errs[0]
	}
	return err
}

func (c *Controller) writeStatus(ctx context.Context, ds *appsv1.DaemonSet, status appsv1.DaemonSetStatus) error {
	if equality.Semantic.DeepEqual(ds.Status, status) {
		return nil
	}
	next := *ds
	next.Status = status
	_, err := c.client.AppsV1().DaemonSets(ds.Namespace).UpdateStatus(ctx, &next, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status of DaemonSet %s/%s: %w", ds.Namespace, ds.Name, err)
	}
	return nil
}

func (c *Controller) podAdded(obj any) {
	pod, ok := loop.Object[*corev1.Pod](obj)
	if !ok {
		return
	}
	if pod.DeletionTimestamp != nil {
		c.podGone(pod)
		return
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if key, ok := c.resolve(pod.Namespace, ref); ok {
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
	switch {
	case !ok1 || !ok2:
		return
	case before.UID != after.UID:
		c.podGone(before)
		c.podAdded(after)
		return
	case after.DeletionTimestamp != nil:
		c.podGone(after)
		return
	}
	was, is := metav1.GetControllerOfNoCopy(before), metav1.GetControllerOfNoCopy(after)
	if was != nil {
		if key, ok := c.resolve(before.Namespace, was); ok {
			c.loop.Add(key)
		}
	}
	if is != nil {
		if key, ok := c.resolve(after.Namespace, is); ok {
			c.loop.Add(key)
		}
	} else if was != nil || !maps.Equal(before.Labels, after.Labels) {
		c.enqueueMatching(after)
	}
}

func (c *Controller) podGone(obj any) {
	pod, ok := loop.Object[*corev1.Pod](obj)
	if !ok {
		return
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if key, ok := c.resolve(pod.Namespace, ref); ok {
			c.expected.DeletionObserved(key, pod.Namespace+"/"+pod.Name)
			c.loop.Add(key)
		}
	}
}

// enqueueMatching wakes the sets that may adopt the pod.
func (c *Controller) enqueueMatching(pod *corev1.Pod) {
	all, err := c.sets.DaemonSets(pod.Namespace).List(labels.Everything())
	if err != nil || len(pod.Labels) == 0 {
		return
	}
	for _, ds := range all {
		if owner.MayAdopt(ds.Spec.Selector, pod.Labels) {
			c.loop.Enqueue(ds)
		}
	}
}

func (c *Controller) nodeChanged(old, cur any) {
	before, ok1 := loop.Object[*corev1.Node](old)
	after, ok2 := loop.Object[*corev1.Node](cur)
	if ok1 && ok2 && (!maps.Equal(before.Labels, after.Labels) || !equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints)) {
		c.enqueueAll()
	}
}

func (c *Controller) enqueueAll() {
	all, err := c.sets.List(labels.Everything())
	if err != nil {
		return
	}
	for _, ds := range all {
		c.loop.Enqueue(ds)
	}
}

func (c *Controller) resolve(namespace string, ref *metav1.OwnerReference) (string, bool) {
	if ref.Kind != kind.Kind {
		return "", false
	}
	ds, err := c.sets.DaemonSets(namespace).Get(ref.Name)
	return namespace + "/" + ref.Name, err == nil && ds.UID == ref.UID
}

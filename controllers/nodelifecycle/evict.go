// SPDX-License-Identifier: Apache-2.0

package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// Evictor deletes pods from nodes with NoExecute taints that they do not tolerate, or not any longer; kube-controller-manager calls
// it taint-eviction-controller.
type Evictor struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	clock    clock.WithTicker
	nodes    corelisters.NodeLister
	pods     corelisters.PodLister
	index    cache.Indexer
	synced   []cache.InformerSynced
	loop     *loop.Loop

	mu     sync.Mutex
	doomed map[string]time.Time // when the time of a pod began that will be evicted, by its key
}

// NewEvictor returns the controller.
func NewEvictor(client kubernetes.Interface, nodes coreinformers.NodeInformer, pods coreinformers.PodInformer, recorder record.EventRecorder, options Options) (*Evictor, error) {
	e := &Evictor{
		client: client, recorder: recorder, clock: options.withDefaults().Clock,
		nodes: nodes.Lister(), pods: pods.Lister(), index: pods.Informer().GetIndexer(),
		synced: []cache.InformerSynced{nodes.Informer().HasSynced, pods.Informer().HasSynced},
		doomed: map[string]time.Time{},
	}
	e.loop = loop.New("taint-eviction", e.sync)
	errIndex := addNodeIndex(pods.Informer())
	_, errNodes := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { e.nodeUpdated(nil, obj) },
		UpdateFunc: e.nodeUpdated,
	})
	_, errPods := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { e.podUpdated(nil, obj) },
		UpdateFunc: e.podUpdated,
		DeleteFunc: e.loop.Enqueue,
	})
	return e, errors.Join(errIndex, errNodes, errPods)
}

// Run works until ctx ends.
func (e *Evictor) Run(ctx context.Context, workers int) { e.loop.Run(ctx, workers, e.synced...) }

func (e *Evictor) nodeUpdated(old, cur any) {
	node, ok := loop.Object[*v1.Node](cur)
	if !ok {
		return
	}
	if was, ok := old.(*v1.Node); ok && slices.EqualFunc(evictingTaints(was), evictingTaints(node), sameTaint) {
		return
	}
	objects, err := e.index.ByIndex(nodeIndex, node.Name)
	if err != nil {
		return // the index is there: New has added it
	}
	for _, o := range objects {
		e.loop.Enqueue(o)
	}
}

func (e *Evictor) podUpdated(old, cur any) {
	pod, ok := loop.Object[*v1.Pod](cur)
	if !ok || pod.Spec.NodeName == "" {
		return
	}
	was, ok := old.(*v1.Pod)
	if ok && was.Spec.NodeName == pod.Spec.NodeName && len(was.Spec.Tolerations) == len(pod.Spec.Tolerations) {
		return
	}
	e.loop.Enqueue(pod)
}

// sync evicts a pod, or sees to it that it is looked at again when its time is over.
func (e *Evictor) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	pod, err := e.pods.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) || (err == nil && pod.DeletionTimestamp != nil) {
		e.spare(key)
		return nil
	}
	if err != nil {
		return err
	}
	node, err := e.nodes.Get(pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return nil // the garbage collector of pods deals with it
	}
	if err != nil {
		return err
	}
	now := e.clock.Now()
	left, evict := stay(evictingTaints(node), pod.Spec.Tolerations)
	if !evict {
		if e.spare(key) {
			e.podEvent(pod, "Cancelling deletion of Pod "+key)
		}
		return nil
	}
	if left = e.begun(key, now).Add(left).Sub(now); left > 0 {
		e.loop.AddAfter(key, left)
		return nil
	}
	klog.FromContext(ctx).Info("Deleting pod", "controller", "taint-eviction-controller", "pod", klog.KObj(pod))
	e.podEvent(pod, "Marking for deletion Pod "+key)
	if err := e.delete(ctx, pod); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("evict pod %s: %w", key, err)
	}
	e.spare(key)
	return nil
}

func (e *Evictor) delete(ctx context.Context, pod *v1.Pod) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []v1.PodCondition{{
			Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: "DeletionByTaintManager",
			Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(e.clock.Now()), ObservedGeneration: pod.Generation,
		}}},
	})
	if err != nil {
		return err
	}
	if _, err := e.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		return err
	}
	return e.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
}

// begun is when the time of a doomed pod began.
func (e *Evictor) begun(key string, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.doomed[key]; !ok {
		e.doomed[key] = now
	}
	return e.doomed[key]
}

// spare forgets that a pod was doomed, and reports whether it was.
func (e *Evictor) spare(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := len(e.doomed)
	delete(e.doomed, key)
	return len(e.doomed) < before
}

func (e *Evictor) podEvent(pod *v1.Pod, message string) {
	ref := &v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
	e.recorder.Event(ref, v1.EventTypeNormal, "TaintManagerEviction", message)
}

// stay is how long a pod may stay on a node with these taints; evict is false where it may for ever. Every taint has to be tolerated, and of
// the tolerations that do, the shortest counts.
func stay(taints []v1.Taint, tolerations []v1.Toleration) (left time.Duration, evict bool) {
	shortest := int64(-1)
	for i := range taints {
		tolerated := false
		for j := range tolerations {
			t := &tolerations[j]
			if !t.ToleratesTaint(klog.Logger{}, &taints[i], false) {
				continue
			}
			tolerated = true
			if t.TolerationSeconds != nil && (shortest < 0 || *t.TolerationSeconds < shortest) {
				shortest = max(0, *t.TolerationSeconds)
			}
			break
		}
		if !tolerated {
			return 0, true
		}
	}
	if shortest < 0 {
		return 0, false
	}
	return time.Duration(shortest) * time.Second, true
}

func evictingTaints(node *v1.Node) []v1.Taint {
	return slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t v1.Taint) bool { return t.Effect != v1.TaintEffectNoExecute })
}

func sameTaint(a, b v1.Taint) bool { return a.Key == b.Key && a.Value == b.Value }

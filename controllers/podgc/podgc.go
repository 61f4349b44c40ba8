// SPDX-License-Identifier: Apache-2.0

// Package podgc deletes pods that nobody else will: those on nodes that are gone, those that were never given to a node and
// are being deleted, those on nodes that are marked out of service, and the oldest that have ended once there are too
// many. Every 20 seconds it makes one pass over the pods in the cache; requests cost only what is deleted, and one
// lookup for each node that is missing.
package podgc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/podcontrol"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

const (
	period = 20 * time.Second
	// quarantine is how long a node has to be missing before its pods are taken for lost.
	quarantine = 40 * time.Second
	// DefaultThreshold is how many pods that have ended are kept.
	DefaultThreshold = 12500
)

// Controller deletes lost pods.
type Controller struct {
	client    kubernetes.Interface
	pods      corelisters.PodLister
	nodes     corelisters.NodeLister
	synced    []cache.InformerSynced
	threshold int
	now       func() time.Time
	missing   map[string]time.Time // nodes, and since when
}

// New returns the controller. threshold is how many pods that have ended are kept; zero keeps all.
func New(client kubernetes.Interface, pods coreinformers.PodInformer, nodes coreinformers.NodeInformer, threshold int) *Controller {
	return &Controller{
		client:    client,
		pods:      pods.Lister(),
		nodes:     nodes.Lister(),
		synced:    []cache.InformerSynced{pods.Informer().HasSynced, nodes.Informer().HasSynced},
		threshold: threshold,
		now:       time.Now,
		missing:   map[string]time.Time{},
	}
}

// Run works until ctx ends, with one worker whatever their number.
func (c *Controller) Run(ctx context.Context, _ int) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := c.pass(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Failed to delete lost pods")
		}
	}, period)
}

func (c *Controller) pass(ctx context.Context) error {
	pods, err := c.pods.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	list, err := c.nodes.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	nodes := make(map[string]*corev1.Node, len(list))
	for _, node := range list {
		nodes[node.Name] = node
	}
	gone, err := c.goneNodes(ctx, pods, nodes)
	victims := plan(pods, nodes, gone, c.threshold)
	errs := podcontrol.Parallel(len(victims), func(i int) error { return c.remove(ctx, victims[i]) })
	return errors.Join(append(errs, err)...)
}

// goneNodes returns the nodes with pods that have been missing for the quarantine and that the server does not know either.
func (c *Controller) goneNodes(ctx context.Context, pods []*corev1.Pod, nodes map[string]*corev1.Node) (map[string]bool, error) {
	missing := map[string]time.Time{}
	now := c.now()
	for _, pod := range pods {
		if name := pod.Spec.NodeName; name != "" && nodes[name] == nil {
			since, ok := c.missing[name]
			if !ok {
				since = now
			}
			missing[name] = since
		}
	}
	c.missing = missing
	gone := map[string]bool{}
	var errs []error
	for name, since := range missing {
		if now.Sub(since) < quarantine {
			continue
		}
		_, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			gone[name] = true
		case err != nil:
			errs = append(errs, fmt.Errorf("read node %s: %w", name, err))
		}
	}
	return gone, errors.Join(errs...)
}

// remove marks the pod as failed, since nobody is left to do so, and deletes it at once.
func (c *Controller) remove(ctx context.Context, v victim) error {
	pod, api := v.pod, c.client.CoreV1().Pods(v.pod.Namespace)
	if !podstate.Terminal(pod) {
		patch, err := failedPatch(pod, v.condition, c.now())
		if err == nil {
			_, err = api.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("mark pod %s/%s as failed: %w", pod.Namespace, pod.Name, err)
		}
	}
	options := *metav1.NewDeleteOptions(0)
	options.Preconditions = metav1.NewUIDPreconditions(string(pod.UID))
	if err := api.Delete(ctx, pod.Name, options); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	klog.FromContext(ctx).V(2).Info("Deleted a lost pod", "pod", klog.KObj(pod), "why", v.why)
	return nil
}

// failedPatch moves the pod to phase Failed, with the condition if there is one.
func failedPatch(pod *corev1.Pod, condition *corev1.PodCondition, now time.Time) ([]byte, error) {
	status := map[string]any{"phase": corev1.PodFailed}
	if condition != nil {
		c := *condition
		c.LastTransitionTime = metav1.NewTime(now)
		if had := podstate.Condition(pod, c.Type); had != nil && had.Status == c.Status {
			c.LastTransitionTime = had.LastTransitionTime
		}
		status["conditions"] = []corev1.PodCondition{c}
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
}

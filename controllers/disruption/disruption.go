// SPDX-License-Identifier: Apache-2.0

// Package disruption keeps the status of PodDisruptionBudgets: how many of the pods that a budget guards are healthy, and how many
// may be disrupted now. The eviction subresource takes from that number; this controller counts anew. A change of a pod costs
// one look at the budgets of its namespace, and a count of the pods of those that select it.
package disruption

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	policyinformers "k8s.io/client-go/informers/policy/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	pdbhelper "k8s.io/component-helpers/apps/poddisruptionbudget"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
	"github.com/hivemind-project/hivemind/controllers/internal/podstate"
)

// deletionTimeout is how long a pod whose eviction was granted may take until its deletion is seen. After that the budget
// counts it as healthy again.
const deletionTimeout = 2 * time.Minute

// Controller keeps the status of budgets.
type Controller struct {
	client   kubernetes.Interface
	budgets  policylisters.PodDisruptionBudgetLister
	pods     corelisters.PodLister
	scales   *scales
	synced   []cache.InformerSynced
	recorder record.EventRecorder
	loop     *loop.Loop
	stale    *loop.Loop // pods whose DisruptionTarget condition came to nothing
	now      func() time.Time
}

// New returns the controller.
func New(client kubernetes.Interface, budgets policyinformers.PodDisruptionBudgetInformer, core coreinformers.Interface, apps appsinformers.Interface, recorder record.EventRecorder) (*Controller, error) {
	pods := core.Pods()
	c := &Controller{client: client, budgets: budgets.Lister(), pods: pods.Lister(), recorder: recorder, now: time.Now}
	var readScales []cache.InformerSynced
	c.scales, readScales = newScales(client, core, apps)
	c.synced = append(readScales, budgets.Informer().HasSynced, pods.Informer().HasSynced)
	c.loop, c.stale = loop.New("disruption", c.sync), loop.New("disruption-target", c.clearStaleTarget)
	if _, err := budgets.Informer().AddEventHandler(c.loop.Handler()); err != nil {
		return nil, err
	}
	_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { c.podChanged(obj) },
		UpdateFunc: func(old, cur any) {
			if before, after := old.(*corev1.Pod), cur.(*corev1.Pod); !maps.Equal(before.Labels, after.Labels) {
				c.enqueueBudgets(before)
			}
			c.podChanged(cur)
		},
		DeleteFunc: func(obj any) { c.podChanged(obj) },
	})
	return c, err
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) {
	c.loop.RunWith(ctx, workers, c.stale, c.synced...)
}

func (c *Controller) podChanged(obj any) {
	pod, ok := loop.Object[*corev1.Pod](obj)
	if !ok {
		return
	}
	c.enqueueBudgets(pod)
	if wait, due := c.staleTarget(pod); due {
		c.stale.EnqueueAfter(pod, wait)
	}
}

// enqueueBudgets has every budget that selects the pod counted anew.
func (c *Controller) enqueueBudgets(pod *corev1.Pod) {
	budgets, err := c.budgets.PodDisruptionBudgets(pod.Namespace).List(labels.Everything())
	if err != nil {
		return // a lister over a cache cannot fail
	}
	for _, budget := range budgets {
		if selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			c.loop.Enqueue(budget)
		}
	}
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	budget, err := c.budgets.PodDisruptionBudgets(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	recheck, err := c.count(ctx, budget)
	switch {
	case apierrors.IsConflict(err):
		return err
	case err != nil:
		klog.FromContext(ctx).Error(err, "Budget not counted; no disruption is allowed until it is", "podDisruptionBudget", klog.KObj(budget))
		return c.failSafe(ctx, budget, err)
	case recheck > 0:
		return loop.RetryAfter(recheck)
	}
	return nil
}

// count writes what the budget's pods are like now. recheck is when an eviction that was granted must have happened; zero if
// none is outstanding.
func (c *Controller) count(ctx context.Context, budget *policyv1.PodDisruptionBudget) (recheck time.Duration, err error) {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		c.recorder.Eventf(budget, corev1.EventTypeWarning, "NoPods", "Failed to get pods: %v", err)
		return 0, err
	}
	pods, err := c.pods.Pods(budget.Namespace).List(selector)
	if err != nil {
		return 0, err
	}
	if len(pods) == 0 {
		c.recorder.Event(budget, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	expected, desired, unmanaged, err := c.expected(ctx, budget, pods)
	if err != nil {
		c.recorder.Eventf(budget, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
		return 0, err
	}
	if unmanaged {
		c.recorder.Eventf(budget, corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", budget.Spec.Selector)
	}
	disrupted, recheck := c.outstanding(budget, pods)
	return recheck, c.write(ctx, budget, healthy(pods, disrupted), desired, expected, disrupted)
}

// outstanding keeps of the granted evictions those whose pod is there and not being deleted yet.
func (c *Controller) outstanding(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (kept map[string]metav1.Time, recheck time.Duration) {
	kept = map[string]metav1.Time{}
	for _, pod := range pods {
		granted, ok := budget.Status.DisruptedPods[pod.Name]
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		left := granted.Add(deletionTimeout).Sub(c.now())
		if left < 0 {
			c.recorder.Eventf(pod, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Name)
			continue
		}
		kept[pod.Name] = granted
		if recheck == 0 || left < recheck {
			recheck = max(left, time.Second)
		}
	}
	return kept, recheck
}

// healthy counts the pods that are ready and will stay.
func healthy(pods []*corev1.Pod, disrupted map[string]metav1.Time) (n int32) {
	for _, pod := range pods {
		if _, going := disrupted[pod.Name]; !going && pod.DeletionTimestamp == nil && podstate.Ready(pod) {
			n++
		}
	}
	return n
}

func (c *Controller) write(ctx context.Context, budget *policyv1.PodDisruptionBudget, healthy, desired, expected int32, disrupted map[string]metav1.Time) error {
	allowed := max(healthy-desired, 0)
	if expected <= 0 {
		allowed = 0 // pods that come next must not be unguarded until they have been counted
	}
	updated := budget.DeepCopy()
	updated.Status = policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: budget.Generation, DisruptedPods: disrupted, DisruptionsAllowed: allowed,
		CurrentHealthy: healthy, DesiredHealthy: desired, ExpectedPods: expected, Conditions: updated.Status.Conditions,
	}
	pdbhelper.UpdateDisruptionAllowedCondition(updated)
	if equality.Semantic.DeepEqual(updated.Status, budget.Status) {
		return nil
	}
	_, err := c.client.PolicyV1().PodDisruptionBudgets(budget.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	return ignoreNotFound(err)
}

// failSafe allows no disruption of what could not be counted.
func (c *Controller) failSafe(ctx context.Context, budget *policyv1.PodDisruptionBudget, cause error) error {
	updated := budget.DeepCopy()
	updated.Status.DisruptionsAllowed = 0
	meta.SetStatusCondition(&updated.Status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
		Reason: policyv1.SyncFailedReason, Message: cause.Error(), ObservedGeneration: budget.Status.ObservedGeneration,
	})
	if equality.Semantic.DeepEqual(updated.Status, budget.Status) {
		return nil
	}
	_, err := c.client.PolicyV1().PodDisruptionBudgets(budget.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	return ignoreNotFound(err)
}

// staleTarget tells whether the pod says that it is about to be disrupted although nobody has deleted it, and how long it may
// still say so. What a node agent says of its own pods is never stale.
func (c *Controller) staleTarget(pod *corev1.Pod) (wait time.Duration, due bool) {
	target := podstate.Condition(pod, corev1.DisruptionTarget)
	if target == nil || target.Status != corev1.ConditionTrue || target.Reason == corev1.PodReasonTerminationByKubelet || !podstate.Active(pod) {
		return 0, false
	}
	return max(target.LastTransitionTime.Add(deletionTimeout).Sub(c.now()), 0), true
}

func (c *Controller) clearStaleTarget(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	pod, err := c.pods.Pods(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	switch wait, due := c.staleTarget(pod); {
	case !due:
		return nil
	case wait > 0:
		return loop.RetryAfter(wait)
	}
	updated := pod.DeepCopy()
	target := podstate.Condition(updated, corev1.DisruptionTarget)
	target.Status, target.Reason, target.Message, target.LastTransitionTime = corev1.ConditionFalse, "", "", metav1.NewTime(c.now())
	if _, err = c.client.CoreV1().Pods(namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{}); ignoreNotFound(err) != nil {
		return fmt.Errorf("clear the DisruptionTarget condition of Pod %s, which was not deleted: %w", key, err)
	}
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

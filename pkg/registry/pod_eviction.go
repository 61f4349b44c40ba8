// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/client-go/util/retry"
	pdbhelper "k8s.io/component-helpers/apps/poddisruptionbudget"
	"k8s.io/utils/ptr"
)

// maxDisruptedPods is how many evictions may be granted before the disruption controller has seen the pods go.
const maxDisruptedPods = 2000

// evictionRetry is how long an eviction goes on against others that write the same budget or pod.
var evictionRetry = wait.Backoff{Steps: 20, Duration: 500 * time.Millisecond, Factor: 1, Jitter: 0.1}

// evictionREST serves pods/eviction, which is how drains remove pods: a deletion that the pod's PodDisruptionBudget, if it has one,
// grants. See https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/.
type evictionREST struct {
	pods, budgets           *Store
	podStatus, budgetStatus *statusREST
}

func newEvictionREST(pods, budgets *Store) *evictionREST {
	return &evictionREST{pods: pods, budgets: budgets, podStatus: newStatusREST(pods), budgetStatus: newStatusREST(budgets)}
}

func (r *evictionREST) New() runtime.Object { return &policyv1.Eviction{} }
func (r *evictionREST) Destroy()            {}

func (r *evictionREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// AcceptsGroupVersion takes the kind of a group that is not the pod's, as clients older than v1 send it too.
func (r *evictionREST) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv == policyv1.SchemeGroupVersion || gv == policyv1beta1.SchemeGroupVersion
}

// addOlderEviction makes an Eviction of policy/v1beta1 one of v1, which has the same fields. Nothing else of that version is served.
func addOlderEviction(s *runtime.Scheme) error {
	s.AddKnownTypes(policyv1beta1.SchemeGroupVersion, &policyv1beta1.Eviction{})
	return addConversions(s,
		pair{(*policyv1beta1.Eviction)(nil), (*policyv1.Eviction)(nil), func(from, to any) error {
			in, out := from.(*policyv1beta1.Eviction), to.(*policyv1.Eviction)
			out.ObjectMeta, out.DeleteOptions = in.ObjectMeta, in.DeleteOptions
			return nil
		}},
		pair{(*policyv1.Eviction)(nil), (*policyv1beta1.Eviction)(nil), func(from, to any) error {
			in, out := from.(*policyv1.Eviction), to.(*policyv1beta1.Eviction)
			out.ObjectMeta, out.DeleteOptions = in.ObjectMeta, in.DeleteOptions
			return nil
		}})
}

func (r *evictionREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	eviction, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, errors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	}
	if name != eviction.Name {
		return nil, errors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	deletion, err := deletionOf(eviction, options)
	if err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, eviction.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	pod, done, err := r.evictUnguarded(ctx, name, deletion)
	switch {
	case err != nil:
		return nil, err
	case done:
		return success(), nil
	}
	refusal, asSeen, budget, err := r.ask(ctx, pod, deletion)
	if refusal != nil || err != nil {
		return refusal, err
	}
	granted := deletion
	if asSeen {
		granted = atVersion(deletion, pod.ResourceVersion)
	}
	err = r.remove(ctx, name, granted)
	if asSeen && errors.IsConflict(err) && !hasVersion(deletion) {
		return nil, beingProcessed(budget)
	}
	if err != nil {
		return nil, err
	}
	return success(), nil
}

func success() *metav1.Status { return &metav1.Status{Status: metav1.StatusSuccess} }

// deletionOf is the options that the pod is to be deleted with: those that the Eviction carries, dry run as the request has it.
func deletionOf(eviction *policyv1.Eviction, options *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	deletion := eviction.DeleteOptions.DeepCopy()
	if deletion == nil {
		deletion = &metav1.DeleteOptions{}
	}
	if ptr.Deref(deletion.IgnoreStoreReadErrorWithClusterBreakingPotential, false) {
		path := field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential")
		return nil, errors.NewInvalid(policyv1.SchemeGroupVersion.WithKind("Eviction").GroupKind(), eviction.Name,
			field.ErrorList{field.Invalid(path, true, "can not be set for pod eviction, try after removing the option")})
	}
	switch {
	case len(deletion.DryRun) == 0:
		deletion.DryRun = options.DryRun
	case len(options.DryRun) > 0 && !slices.Equal(deletion.DryRun, options.DryRun):
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", options.DryRun, deletion.DryRun)
	}
	return deletion, nil
}

// evictUnguarded deletes a pod that no budget counts: one that has not started, has ended, or is going away. done says that it was
// one.
func (r *evictionREST) evictUnguarded(ctx context.Context, name string, deletion *metav1.DeleteOptions) (pod *corev1.Pod, done bool, err error) {
	again := errors.IsConflict
	if hasVersion(deletion) {
		again = func(error) bool { return false }
	}
	err = retry.OnError(evictionRetry, again, func() error {
		obj, err := r.pods.Get(ctx, name, &metav1.GetOptions{})
		if err != nil {
			return err
		}
		pod = obj.(*corev1.Pod)
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil
		if !ended && pod.Status.Phase != corev1.PodPending {
			return nil
		}
		options := deletion
		if !ended && !hasVersion(deletion) {
			options = atVersion(deletion, pod.ResourceVersion) // it may become ready, and counted, meanwhile
		}
		done = true
		return r.remove(ctx, name, options)
	})
	return pod, done, err
}

// ask has the pod's budget grant the eviction. refusal is the answer where the request cannot be served; asSeen says that the grant holds
// for the pod as it was read only.
func (r *evictionREST) ask(ctx context.Context, pod *corev1.Pod, deletion *metav1.DeleteOptions) (refusal runtime.Object, asSeen bool, name string, err error) {
	budgets, err := r.budgetsOf(ctx, pod)
	if err != nil || len(budgets) == 0 {
		return nil, false, "", err
	}
	if len(budgets) > 1 {
		return &metav1.Status{Status: metav1.StatusFailure, Code: 500,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}, false, "", nil
	}
	budget := budgets[0]
	if !isReady(pod) {
		always := ptr.Deref(budget.Spec.UnhealthyPodEvictionPolicy, policyv1.IfHealthyBudget) == policyv1.AlwaysAllow
		enough := budget.Status.CurrentHealthy >= budget.Status.DesiredHealthy && budget.Status.DesiredHealthy > 0
		if always || enough {
			return nil, true, budget.Name, nil // a pod that is not healthy takes nothing from the budget
		}
	}
	stale := false
	err = retry.RetryOnConflict(evictionRetry, func() error {
		if stale {
			obj, err := r.budgets.Get(ctx, budget.Name, &metav1.GetOptions{})
			if err != nil {
				return err
			}
			budget = obj.(*policyv1.PodDisruptionBudget)
		}
		stale = true
		return r.take(ctx, budget.DeepCopy(), pod.Name, dryrun.IsDryRun(deletion.DryRun))
	})
	if wait.Interrupted(err) {
		err = errors.NewTimeoutError(fmt.Sprintf("couldn't update PodDisruptionBudget %q due to conflicts", budget.Name), 10)
	}
	return nil, false, budget.Name, err
}

// take takes one disruption from what the budget allows.
func (r *evictionREST) take(ctx context.Context, budget *policyv1.PodDisruptionBudget, pod string, dryRun bool) error {
	status := &budget.Status
	forbidden := func(why string) error {
		return errors.NewForbidden(schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudget"}, budget.Name, fmt.Errorf("%s", why))
	}
	switch {
	case status.ObservedGeneration < budget.Generation:
		return beingProcessed(budget.Name)
	case status.DisruptionsAllowed < 0:
		return forbidden("pdb disruptions allowed is negative")
	case len(status.DisruptedPods) > maxDisruptedPods:
		return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller")
	case status.DisruptionsAllowed == 0:
		return tooMany(0, exhausted(budget))
	}
	if status.DisruptionsAllowed--; status.DisruptionsAllowed == 0 {
		pdbhelper.UpdateDisruptionAllowedCondition(budget)
	}
	if dryRun {
		return nil
	}
	if status.DisruptedPods == nil {
		status.DisruptedPods = map[string]metav1.Time{}
	}
	// The controller must not count the pod as healthy until it sees it go.
	status.DisruptedPods[pod] = metav1.Now()
	_, _, err := r.budgetStatus.Update(ctx, budget.Name, rest.DefaultUpdatedObjectInfo(budget), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	return err
}

// exhausted says why a budget allows no disruption, in kube-apiserver's words.
func exhausted(budget *policyv1.PodDisruptionBudget) string {
	status := &budget.Status
	condition := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	explained := condition != nil && condition.Status == metav1.ConditionFalse && condition.Message != ""
	switch {
	case explained && condition.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", budget.Name, condition.Message)
	case status.CurrentHealthy <= status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget.Name, status.DesiredHealthy, status.CurrentHealthy)
	case explained:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", budget.Name, condition.Reason, condition.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", budget.Name)
}

func beingProcessed(budget string) error {
	return tooMany(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

// tooMany is the refusal that drains wait on and try again.
func tooMany(retryAfterSeconds int, why string) error {
	err := errors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfterSeconds)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}

// remove says on the pod why it goes, and deletes it.
func (r *evictionREST) remove(ctx context.Context, name string, options *metav1.DeleteOptions) error {
	if !dryrun.IsDryRun(options.DryRun) {
		latest := func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
			pod := old.DeepCopyObject().(*corev1.Pod)
			if err := holds(options.Preconditions, pod); err != nil {
				return nil, err
			}
			setTarget(pod)
			return pod, nil
		}
		updated, _, err := r.podStatus.Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, latest), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		if hasVersion(options) {
			options = atVersion(options, updated.(*corev1.Pod).ResourceVersion)
		}
	}
	_, _, err := r.pods.Delete(ctx, name, rest.ValidateAllObjectFunc, options)
	return err
}

// holds refuses a pod that is not the one the client meant.
func holds(p *metav1.Preconditions, pod *corev1.Pod) error {
	if p == nil {
		return nil
	}
	conflict := func(format string, args ...any) error {
		return errors.NewConflict(schema.GroupResource{Resource: "Pod"}, pod.Name, fmt.Errorf(format, args...))
	}
	if p.UID != nil && *p.UID != "" && *p.UID != pod.UID {
		return conflict("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, pod.UID)
	}
	if v := ptr.Deref(p.ResourceVersion, ""); v != "" && v != pod.ResourceVersion {
		return conflict("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", v, pod.ResourceVersion)
	}
	return nil
}

func setTarget(pod *corev1.Pod) {
	target := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI",
		Message: "Eviction API: evicting", LastTransitionTime: metav1.Now()}
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == target.Type })
	if i < 0 {
		pod.Status.Conditions = append(pod.Status.Conditions, target)
		return
	}
	if was := &pod.Status.Conditions[i]; was.Status == target.Status {
		target.LastTransitionTime = was.LastTransitionTime
	}
	pod.Status.Conditions[i] = target
}

// budgetsOf lists the budgets that select the pod.
func (r *evictionREST) budgetsOf(ctx context.Context, pod *corev1.Pod) ([]*policyv1.PodDisruptionBudget, error) {
	list, err := r.budgets.List(ctx, nil)
	if err != nil {
		return nil, err
	}
	var matching []*policyv1.PodDisruptionBudget
	items := list.(*policyv1.PodDisruptionBudgetList).Items
	for i := range items {
		if selector, err := metav1.LabelSelectorAsSelector(items[i].Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			matching = append(matching, &items[i])
		}
	}
	return matching, nil
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func hasVersion(o *metav1.DeleteOptions) bool {
	return o.Preconditions != nil && o.Preconditions.ResourceVersion != nil
}

// atVersion returns the options for a pod of that resourceVersion alone.
func atVersion(o *metav1.DeleteOptions, version string) *metav1.DeleteOptions {
	o = o.DeepCopy()
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	o.Preconditions.ResourceVersion = &version
	return o
}

var (
	_ rest.NamedCreater         = (*evictionREST)(nil)
	_ rest.GroupVersionAcceptor = (*evictionREST)(nil)
)

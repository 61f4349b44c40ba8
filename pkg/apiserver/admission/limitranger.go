// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// A namespace in which the cache knows no LimitRange is asked for in the storage once in lookupTTL: one that was created just
// before a pod must hold for that pod.
const (
	lookupTTL  = 30 * time.Second
	lookupSize = 10000
)

// limitRangerAnnotation says what was filled in.
const limitRangerAnnotation = "kubernetes.io/limit-ranger"

// LimitRanger fills in requests and limits that a namespace's LimitRanges have defaults for, and refuses pods and claims that are
// outside of them. See https://kubernetes.io/docs/concepts/policy/limit-range/.
type LimitRanger struct {
	*admission.Handler
	client kubernetes.Interface
	ranges corelisters.LimitRangeLister
	looked *utilcache.LRUExpireCache // namespaces that were asked for in the storage
}

// NewLimitRanger returns the plugin.
func NewLimitRanger(client kubernetes.Interface, ranges corelisters.LimitRangeLister) *LimitRanger {
	return &LimitRanger{admission.NewHandler(admission.Create, admission.Update), client, ranges, utilcache.NewLRUExpireCache(lookupSize)}
}

// Admit implements admission.MutationInterface.
func (l *LimitRanger) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	return l.each(ctx, a, func(r *corev1.LimitRange) error {
		if pod, ok := a.GetObject().(*corev1.Pod); ok {
			fillIn(pod, r)
		}
		return nil
	})
}

// Validate implements admission.ValidationInterface.
func (l *LimitRanger) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	return l.each(ctx, a, func(r *corev1.LimitRange) error {
		switch o := a.GetObject().(type) {
		case *corev1.Pod:
			return checkPod(o, r)
		case *corev1.PersistentVolumeClaim:
			return checkClaim(o, r)
		}
		return nil
	})
}

// each calls do for the LimitRanges that apply. Of pods, what they ask for changes by resizing alone.
func (l *LimitRanger) each(ctx context.Context, a admission.Attributes, do func(*corev1.LimitRange) error) error {
	var applies bool
	switch a.GetResource().GroupResource() {
	case corev1.Resource("pods"):
		applies = a.GetSubresource() == "" && a.GetOperation() == admission.Create || a.GetSubresource() == "resize" && a.GetOperation() == admission.Update
	case corev1.Resource("persistentvolumeclaims"):
		applies = a.GetSubresource() == ""
	}
	if !applies {
		return nil
	}
	if old, ok := a.GetOldObject().(metav1.Object); ok && old.GetDeletionTimestamp() != nil {
		return nil
	}
	ranges, err := l.in(ctx, a.GetNamespace())
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	for _, r := range ranges {
		if err := do(r); err != nil {
			return admission.NewForbidden(a, err)
		}
	}
	return nil
}

func (l *LimitRanger) in(ctx context.Context, namespace string) ([]*corev1.LimitRange, error) {
	ranges, err := l.ranges.LimitRanges(namespace).List(labels.Everything())
	if err != nil || len(ranges) > 0 {
		return ranges, err
	}
	if found, ok := l.looked.Get(namespace); ok {
		return found.([]*corev1.LimitRange), nil
	}
	list, err := l.client.CoreV1().LimitRanges(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		ranges = append(ranges, &list.Items[i])
	}
	l.looked.Add(namespace, ranges, lookupTTL)
	return ranges, nil
}

// fillIn gives containers the defaults of the range, and says so in an annotation.
func fillIn(pod *corev1.Pod, r *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for i := range r.Spec.Limits {
		if limit := &r.Spec.Limits[i]; limit.Type == corev1.LimitTypeContainer {
			maps.Copy(requests, limit.DefaultRequest)
			maps.Copy(limits, limit.Default)
		}
	}
	var set []string
	for _, group := range []struct {
		what       string
		containers []corev1.Container
	}{{"container", pod.Spec.Containers}, {"init container", pod.Spec.InitContainers}} {
		for i := range group.containers {
			c := &group.containers[i]
			if names := fill(&c.Resources.Requests, requests); names != "" {
				set = append(set, names+" request for "+group.what+" "+c.Name)
			}
			if names := fill(&c.Resources.Limits, limits); names != "" {
				set = append(set, names+" limit for "+group.what+" "+c.Name)
			}
		}
	}
	if len(set) > 0 {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, limitRangerAnnotation, "LimitRanger plugin set: "+strings.Join(set, "; "))
	}
}

// fill adds what list lacks and returns the names.
func fill(list *corev1.ResourceList, defaults corev1.ResourceList) string {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	var names []string
	for name, value := range defaults {
		if _, given := (*list)[name]; !given {
			(*list)[name] = value.DeepCopy()
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func checkPod(pod *corev1.Pod, r *corev1.LimitRange) error {
	var errs []error
	for i := range r.Spec.Limits {
		limit := &r.Spec.Limits[i]
		switch limit.Type {
		case corev1.LimitTypeContainer:
			for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
				for j := range containers {
					errs = append(errs, within(limit, containers[j].Resources.Requests, containers[j].Resources.Limits)...)
				}
			}
		case corev1.LimitTypePod:
			options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
			errs = append(errs, within(limit, resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options))...)
		}
	}
	return utilerrors.NewAggregate(errs)
}

func checkClaim(claim *corev1.PersistentVolumeClaim, r *corev1.LimitRange) error {
	var errs []error
	requests := claim.Spec.Resources.Requests
	for i := range r.Spec.Limits {
		limit := &r.Spec.Limits[i]
		if limit.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		errs = append(errs, atLeast(limit, requests, nil)...)
		for _, name := range sorted(limit.Max) {
			most := limit.Max[name]
			switch asked, ok := requests[name]; {
			case !ok:
				errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, limit.Type, most.String()))
			case asked.Cmp(most) > 0:
				errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, limit.Type, most.String(), asked.String()))
			}
		}
	}
	return utilerrors.NewAggregate(errs)
}

// within lists what of requests and limits is outside of the limit, in kube-apiserver's words.
func within(limit *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	return slices.Concat(atLeast(limit, requests, limits), atMost(limit, requests, limits), inProportion(limit, requests, limits))
}

func atLeast(limit *corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	for _, name := range sorted(limit.Min) {
		least := limit.Min[name]
		request, asked := requests[name]
		most, limited := limits[name]
		switch {
		case !asked:
			errs = append(errs, fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, limit.Type, least.String()))
		case request.Cmp(least) < 0:
			errs = append(errs, fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, limit.Type, least.String(), request.String()))
		case limited && most.Cmp(least) < 0:
			errs = append(errs, fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, limit.Type, least.String(), most.String()))
		}
	}
	return errs
}

func atMost(limit *corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	for _, name := range sorted(limit.Max) {
		most := limit.Max[name]
		request, asked := requests[name]
		given, limited := limits[name]
		switch {
		case !limited:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, limit.Type, most.String()))
		case given.Cmp(most) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, limit.Type, most.String(), given.String()))
		case asked && request.Cmp(most) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, limit.Type, most.String(), request.String()))
		}
	}
	return errs
}

func inProportion(limit *corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	for _, name := range sorted(limit.MaxLimitRequestRatio) {
		ratio := limit.MaxLimitRequestRatio[name]
		request, given := requests[name], limits[name]
		switch {
		case request.IsZero():
			errs = append(errs, fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, limit.Type, ratio.String()))
		case given.IsZero():
			errs = append(errs, fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, limit.Type, ratio.String()))
		default:
			if is := proportion(given, request); is*1000 > float64(ratio.MilliValue()) {
				errs = append(errs, fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, limit.Type, ratio.String(), is))
			}
		}
	}
	return errs
}

// proportion divides as exactly as it can without overflow.
func proportion(a, b resource.Quantity) float64 {
	if a.Value() <= resource.MaxMilliValue && b.Value() <= resource.MaxMilliValue {
		return float64(a.MilliValue()) / float64(b.MilliValue())
	}
	return float64(a.Value()) / float64(b.Value())
}

func sorted(list corev1.ResourceList) []corev1.ResourceName { return slices.Sorted(maps.Keys(list)) }

var (
	_ admission.MutationInterface   = (*LimitRanger)(nil)
	_ admission.ValidationInterface = (*LimitRanger)(nil)
)

// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// resource is one that a namespace may have content of, and how that can be deleted.
type resource struct {
	gvr              schema.GroupVersionResource
	list, collection bool
}

// deletable returns the resources that can be deleted, sorted. Group versions that cannot be read are returned as an error
// along with the others.
func deletable(lists []*metav1.APIResourceList) ([]resource, error) {
	var found []resource
	var errs []error
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for i := range list.APIResources {
			r := &list.APIResources[i]
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "delete") {
				continue
			}
			found = append(found, resource{
				gvr: gv.WithResource(r.Name), list: slices.Contains(r.Verbs, "list"), collection: slices.Contains(r.Verbs, "deletecollection"),
			})
		}
	}
	slices.SortFunc(found, func(a, b resource) int { return cmp.Compare(a.gvr.String(), b.gvr.String()) })
	return found, errors.Join(errs...)
}

// remains is what is left of a namespace and why.
type remains struct {
	discovery, parsing error
	deletion           []error
	resources          map[schema.GroupVersionResource]int
	finalizers         map[string]int
	estimate           time.Duration
}

func newRemains() *remains {
	return &remains{resources: map[schema.GroupVersionResource]int{}, finalizers: map[string]int{}}
}

// add counts the objects that are left of a resource. Objects that nothing accounts for, neither a finalizer nor a grace
// period (estimate), are an error.
func (r *remains) add(gvr schema.GroupVersionResource, items []metav1.PartialObjectMetadata, estimate time.Duration) {
	if len(items) == 0 {
		return
	}
	r.resources[gvr] = len(items)
	finalizers := 0
	for i := range items {
		for _, f := range items[i].Finalizers {
			r.finalizers[f]++
			finalizers++
		}
	}
	switch {
	case estimate > 0:
		r.estimate = max(r.estimate, estimate)
	case finalizers > 0:
		r.estimate = max(r.estimate, finalizerEstimate)
	case gvr == podsResource:
		// Late pods: the node agent has not said yet that they stopped.
		r.estimate = max(r.estimate, time.Second)
	default:
		r.deletion = append(r.deletion, fmt.Errorf("unexpected items still remain in namespace: %s for gvr: %v", items[0].Namespace, gvr))
	}
}

func (r *remains) any() bool { return len(r.resources) > 0 }

func (r *remains) errs() []error { return append([]error{r.discovery, r.parsing}, r.deletion...) }

// conditions are those of the five of a Terminating namespace that are true.
func (r *remains) conditions() []corev1.NamespaceCondition {
	var list []corev1.NamespaceCondition
	note := func(kind corev1.NamespaceConditionType, reason, message string) {
		list = append(list, corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message})
	}
	if r.discovery != nil {
		message := r.discovery.Error()
		if groups, ok := discovery.GroupDiscoveryFailedErrorGroups(r.discovery); ok {
			message = fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(groups), r.discovery)
		}
		note(corev1.NamespaceDeletionDiscoveryFailure, "DiscoveryFailed", message)
	}
	if r.parsing != nil {
		note(corev1.NamespaceDeletionGVParsingFailure, "GroupVersionParsingFailed", r.parsing.Error())
	}
	if len(r.deletion) > 0 {
		var messages []string
		for _, err := range r.deletion {
			messages = append(messages, err.Error())
		}
		slices.Sort(messages)
		note(corev1.NamespaceDeletionContentFailure, "ContentDeletionFailed",
			fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(messages), strings.Join(messages, ", ")))
	}
	if len(r.resources) > 0 {
		var parts []string
		for gvr, n := range r.resources {
			parts = append(parts, fmt.Sprintf("%s.%s has %d resource instances", gvr.Resource, gvr.Group, n))
		}
		slices.Sort(parts)
		note(corev1.NamespaceContentRemaining, "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(parts, ", "))
	}
	if len(r.finalizers) > 0 {
		var parts []string
		for _, f := range slices.Sorted(maps.Keys(r.finalizers)) {
			parts = append(parts, fmt.Sprintf("%s in %d resource instances", f, r.finalizers[f]))
		}
		note(corev1.NamespaceFinalizersRemaining, "SomeFinalizersRemain",
			"Some content in the namespace has finalizers remaining: "+strings.Join(parts, ", "))
	}
	return list
}

// settled are the conditions as they are where nothing is wrong.
var settled = []corev1.NamespaceCondition{
	{Type: corev1.NamespaceDeletionDiscoveryFailure, Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
	{Type: corev1.NamespaceDeletionGVParsingFailure, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
	{Type: corev1.NamespaceDeletionContentFailure, Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"},
	{Type: corev1.NamespaceContentRemaining, Reason: "ContentRemoved", Message: "All content successfully removed"},
	{Type: corev1.NamespaceFinalizersRemaining, Reason: "ContentHasNoFinalizers", Message: "All content-preserving finalizers finished"},
}

// setConditions sets all five conditions and returns whether that changed any.
func setConditions(status *corev1.NamespaceStatus, failing []corev1.NamespaceCondition, now time.Time) (changed bool) {
	for _, want := range settled {
		want.Status = corev1.ConditionFalse
		is := func(c corev1.NamespaceCondition) bool { return c.Type == want.Type }
		if i := slices.IndexFunc(failing, is); i >= 0 {
			want = failing[i]
		}
		want.LastTransitionTime = metav1.NewTime(now)
		i := slices.IndexFunc(status.Conditions, is)
		if i < 0 {
			status.Conditions = append(status.Conditions, want)
			changed = true
			continue
		}
		had := &status.Conditions[i]
		if had.Status == want.Status {
			want.LastTransitionTime = had.LastTransitionTime
		}
		if *had != want {
			*had = want
			changed = true
		}
	}
	return changed
}

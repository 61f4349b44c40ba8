// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// nodesOfSlices is what the storage has in these tests.
func nodesOfSlices(_ context.Context, name string) (string, error) {
	switch name {
	case "own":
		return "n1", nil
	case "foreign":
		return "n2", nil
	case "shared":
		return "", nil
	case "unreadable":
		return "", errors.New("no storage")
	}
	return "", apierrors.NewNotFound(resourcev1.Resource("resourceslices"), name)
}

func TestAuthorizeDevices(t *testing.T) {
	user := func(node, name string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
			Spec: corev1.PodSpec{NodeName: node, ResourceClaims: []corev1.PodResourceClaim{
				{Name: "named", ResourceClaimName: new("named-" + name)},
				{Name: "made", ResourceClaimTemplateName: new("template")},
				{Name: "unmade", ResourceClaimTemplateName: new("template")},
			}},
			Status: corev1.PodStatus{
				ResourceClaimStatuses: []corev1.PodResourceClaimStatus{
					{Name: "made", ResourceClaimName: new("made-" + name)},
					{Name: "unmade"},
					{Name: "unheard", ResourceClaimName: new("unheard-" + name)},
				},
				ExtendedResourceClaimStatus: &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "extended-" + name},
			},
		}
	}
	a := newCluster(t, user("n1", "p1"), user("n2", "p2")).authorizer(t)
	const unrelated = "no relationship found between node 'n1' and this object"
	for _, test := range []struct {
		verb, resource, sub, name, selector string
		want                                string // "" is allowed
	}{
		{verb: "get", resource: "resourceclaims", name: "named-p1"},
		{verb: "get", resource: "resourceclaims", name: "made-p1"},
		{verb: "get", resource: "resourceclaims", name: "extended-p1"},
		{verb: "get", resource: "resourceclaims", name: "unheard-p1", want: unrelated},
		{verb: "get", resource: "resourceclaims", name: "named-p2", want: unrelated},
		{verb: "list", resource: "resourceclaims", want: "can only get individual resources of this type"},
		{verb: "get", resource: "resourceclaims", sub: "status", name: "named-p1", want: "cannot get subresource"},

		{verb: "create", resource: "resourceslices"}, // Restriction looks at the node
		{verb: "get", resource: "resourceslices", name: "own"},
		{verb: "delete", resource: "resourceslices", name: "own"},
		{verb: "update", resource: "resourceslices", name: "foreign", want: unrelated},
		{verb: "patch", resource: "resourceslices", name: "shared", want: unrelated},
		{verb: "get", resource: "resourceslices", name: "gone", want: unrelated},
		{verb: "get", resource: "resourceslices", name: "unreadable", want: "read ResourceSlice unreadable: no storage"},
		{verb: "get", resource: "resourceslices", want: "No Object name found"},
		{verb: "list", resource: "resourceslices", selector: "spec.nodeName=n1"},
		{verb: "deletecollection", resource: "resourceslices", selector: "spec.driver=d,spec.nodeName=n1"},
		{verb: "watch", resource: "resourceslices", selector: "spec.nodeName=n2", want: "can only list/watch/deletecollection resourceslices with nodeName field selector"},
		{verb: "list", resource: "resourceslices", want: "can only list/watch/deletecollection resourceslices with nodeName field selector"},
		{verb: "get", resource: "resourceslices", sub: "status", name: "own", want: "cannot authorize ResourceSlice subresources"},
		{verb: "bind", resource: "resourceslices", name: "own", want: "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"},
	} {
		t.Run(test.verb+" "+test.resource+"/"+test.sub+" "+test.name+test.selector, func(t *testing.T) {
			attrs := authorizer.AttributesRecord{
				User: nodeUser("n1"), Verb: test.verb, APIGroup: "resource.k8s.io", Resource: test.resource, Subresource: test.sub, Name: test.name,
				ResourceRequest: true, FieldSelectorRequirements: fields.ParseSelectorOrDie(test.selector).Requirements(),
			}
			if test.resource == "resourceclaims" {
				attrs.Namespace = "ns"
			}
			decision, reason, err := a.Authorize(t.Context(), attrs)
			if (decision == authorizer.DecisionAllow) != (test.want == "") || reason != test.want || err != nil {
				t.Errorf("got %v %q %v, want %q", decision, reason, err, test.want)
			}
		})
	}
}

func TestAdmitSlice(t *testing.T) {
	slice := func(node *string) *resourcev1.ResourceSlice {
		return &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{NodeName: node}}
	}
	c := newCluster(t)
	r := NewRestriction(c.Core().V1().Pods().Lister(), c.Core().V1().Nodes().Lister(), nil, nil)
	slices := resourcev1.SchemeGroupVersion.WithResource("resourceslices")
	for _, test := range []struct {
		name     string
		op       admission.Operation
		new, old *resourcev1.ResourceSlice
		admitted bool
	}{
		{"make one's own", admission.Create, slice(new("n1")), nil, true},
		{"make another's", admission.Create, slice(new("n2")), nil, false},
		{"make everyone's", admission.Create, slice(nil), nil, false},
		{"delete one's own", admission.Delete, nil, slice(new("n1")), true},
		{"delete another's", admission.Delete, nil, slice(new("n2")), false},
		{"change one's own", admission.Update, slice(new("n1")), slice(new("n1")), true},
	} {
		var obj, old runtime.Object // of which one is nil where there is none
		if test.new != nil {
			obj = test.new
		}
		if test.old != nil {
			old = test.old
		}
		attrs := admission.NewAttributesRecord(obj, old, resourcev1.SchemeGroupVersion.WithKind("ResourceSlice"), "", "s", slices, "", test.op, nil, false, nodeUser("n1"))
		if err := r.Admit(t.Context(), attrs, nil); (err == nil) != test.admitted {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
)

func TestEscalationGuard(t *testing.T) {
	a := newAuthorizer(t,
		clusterRole("all", on("*", "*", "*"), rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}),
		clusterRole("reader", on("get list", "", "pods")),
		clusterRole("escalator", on("escalate", rbacv1.GroupName, "clusterroles roles", "special")),
		clusterRole("binder", on("bind", rbacv1.GroupName, "clusterroles", "reader")),
		clusterBinding("all", "all", userSubject("root")),
		clusterBinding("escalators", "escalator", userSubject("eve")),
		binding("ns", "readers", "ClusterRole", "reader", userSubject("rita")),
		binding("ns", "binders", "ClusterRole", "binder", userSubject("bob")),
	)
	guard := NewEscalationGuard(a, a)

	aggregating := clusterRole("agg")
	aggregating.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
	finalized := role("ns", "r", on("*", "*", "*"))
	finalized.Finalizers = []string{"example.org/x"}

	const header = `user "rita" (groups=["dev"]) is attempting to grant RBAC permissions not currently held:` + "\n"
	tests := []struct {
		name     string
		user     user.Info
		obj, old runtime.Object
		urlName  string
		want     string // after `… is forbidden: `
	}{
		{name: "holds all", user: as("root"), obj: clusterRole("x", on("*", "*", "*"))},
		{name: "of system:masters", user: as("anyone", "system:masters"), obj: clusterRole("x", on("*", "*", "*"))},
		{name: "holds the rules in that namespace", user: as("rita"), obj: role("ns", "x", on("get", "", "pods"))},
		{name: "more verbs, joined", user: as("rita", "dev"), obj: role("ns", "x", on("get delete patch", "", "pods")),
			want: header + `{APIGroups:[""], Resources:["pods"], Verbs:["delete" "patch"]}`},
		{name: "lines are sorted", user: as("rita", "dev"),
			obj: role("ns", "x", on("get", "apps", "deployments"), on("get", "", "secrets", "a", "b"), rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}}),
			want: header + `{APIGroups:[""], Resources:["secrets"], ResourceNames:["a"], Verbs:["get"]}` + "\n" +
				`{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}` + "\n" +
				`{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}` + "\n" + `{NonResourceURLs:["/x"], Verbs:["get"]}`},
		{name: "not cluster-wide", user: as("rita", "dev"), obj: clusterRole("x", on("get", "", "pods")),
			want: header + `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		{name: "owners and finalizers alone", user: as("rita"), obj: finalized, old: role("ns", "r", on("*", "*", "*"))},
		{name: "escalate that name", user: as("eve"), obj: clusterRole("special", on("*", "*", "*")), old: clusterRole("special"), urlName: "special"},
		{name: "escalate a name is not to create it", user: as("eve"), obj: clusterRole("special", on("get", "", "pods")),
			want: `user "eve" (groups=[]) is attempting to grant RBAC permissions not currently held:` + "\n" + `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`},
		{name: "aggregation needs all", user: as("rita"), obj: aggregating, want: "must have cluster-admin privileges to use the aggregationRule"},
		{name: "taking aggregation away too", user: as("rita"), obj: clusterRole("agg"), old: aggregating, want: "must have cluster-admin privileges to use the aggregationRule"},
		{name: "aggregation by who holds all", user: as("root"), obj: aggregating},
		{name: "bind what one holds", user: as("rita"), obj: binding("ns", "x", "ClusterRole", "reader", userSubject("z"))},
		{name: "bind with the verb", user: as("bob"), obj: binding("ns", "x", "ClusterRole", "reader", userSubject("z"))},
		{name: "bind with the verb, in that namespace", user: as("bob"), obj: clusterBinding("x", "reader", userSubject("z")),
			want: `user "bob" (groups=[]) is attempting to grant RBAC permissions not currently held:` + "\n" + `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`},
		{name: "bind what one does not hold", user: as("rita", "dev"), obj: clusterBinding("x", "escalator", userSubject("z")),
			want: header + `{APIGroups:["rbac.authorization.k8s.io"], Resources:["clusterroles"], ResourceNames:["special"], Verbs:["escalate"]}` + "\n" +
				`{APIGroups:["rbac.authorization.k8s.io"], Resources:["roles"], ResourceNames:["special"], Verbs:["escalate"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			attrs, resource := attributes(tt.user, tt.obj, tt.old)
			ctx := genericrequest.WithRequestInfo(t.Context(), &genericrequest.RequestInfo{Name: tt.urlName})
			err := guard.Validate(ctx, attrs, nil)
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			want := resource + ` "` + attrs.GetName() + `" is forbidden: ` + tt.want
			if err == nil || !apierrors.IsForbidden(err) || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	t.Run("bind a role that is not there", func(t *testing.T) {
		attrs, _ := attributes(as("rita"), binding("ns", "x", "Role", "gone", userSubject("z")), nil)
		if err := guard.Validate(t.Context(), attrs, nil); !apierrors.IsNotFound(err) {
			t.Errorf("got %v, want NotFound", err)
		}
	})
}

func attributes(u user.Info, obj, old runtime.Object) (admission.Attributes, string) {
	var resource, namespace, name string
	switch obj := obj.(type) {
	case *rbacv1.Role:
		resource, namespace, name = "roles", obj.Namespace, obj.Name
	case *rbacv1.ClusterRole:
		resource, name = "clusterroles", obj.Name
	case *rbacv1.RoleBinding:
		resource, namespace, name = "rolebindings", obj.Namespace, obj.Name
	case *rbacv1.ClusterRoleBinding:
		resource, name = "clusterrolebindings", obj.Name
	}
	op := admission.Create
	if old != nil {
		op = admission.Update
	}
	gvr := rbacv1.SchemeGroupVersion.WithResource(resource)
	return admission.NewAttributesRecord(obj, old, schema.GroupVersionKind{}, namespace, name, gvr, "", op, nil, false, u),
		gvr.GroupResource().String()
}

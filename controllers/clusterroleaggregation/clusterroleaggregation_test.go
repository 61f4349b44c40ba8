// SPDX-License-Identifier: Apache-2.0

package clusterroleaggregation

import (
	"context"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/controllers/internal/testcluster"
)

func role(name string, labels map[string]string, resources ...string) *rbacv1.ClusterRole {
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	for _, resource := range resources {
		r.Rules = append(r.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, Verbs: []string{"get"}})
	}
	return r
}

func aggregated(name string, labels map[string]string, selectors ...map[string]string) *rbacv1.ClusterRole {
	r := role(name, labels)
	r.AggregationRule = &rbacv1.AggregationRule{}
	for _, s := range selectors {
		r.AggregationRule.ClusterRoleSelectors = append(r.AggregationRule.ClusterRoleSelectors, metav1.LabelSelector{MatchLabels: s})
	}
	return r
}

func show(rules []rbacv1.PolicyRule) string {
	var out []string
	for _, r := range rules {
		out = append(out, strings.Join(r.Resources, ","))
	}
	return strings.Join(out, " ")
}

func TestAggregate(t *testing.T) {
	view, edit := map[string]string{"view": "true"}, map[string]string{"edit": "true"}
	parts := []*rbacv1.ClusterRole{role("b", view, "pods", "services"), role("a", view, "services", "nodes"), role("c", edit, "secrets"), role("d", nil, "events")}
	for _, tc := range []struct {
		name string
		role *rbacv1.ClusterRole
		want string
	}{
		{"by name of the parts, each rule once", aggregated("x", nil, view), "services nodes pods"},
		{"selector by selector", aggregated("x", nil, edit, view), "secrets services nodes pods"},
		{"not itself", func() *rbacv1.ClusterRole {
			r := aggregated("a", view, view)
			r.Rules = role("", nil, "own").Rules
			return r
		}(), "pods services"},
		{"none chosen", aggregated("x", nil, map[string]string{"other": "true"}), ""},
	} {
		rules, err := aggregate(tc.role, parts)
		if got := show(rules); err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
}

func TestFollowsItsParts(t *testing.T) {
	ctx := context.Background()
	view := map[string]string{"view": "true"}
	c := testcluster.New(t, aggregated("all", nil, view), role("a", view, "pods"))
	controller, err := New(c.Client, c.Informers.Rbac().V1().ClusterRoles())
	if err != nil {
		t.Fatal(err)
	}
	c.Start(func(ctx context.Context) { controller.Run(ctx, 1) })
	rulesAre := func(want string) func() error {
		return func() error {
			r, err := c.Client.RbacV1().ClusterRoles().Get(ctx, "all", metav1.GetOptions{})
			if err == nil && show(r.Rules) != want {
				err = fmt.Errorf("rules %q, want %q", show(r.Rules), want)
			}
			return err
		}
	}
	c.Eventually("at start", rulesAre("pods"))
	if _, err := c.Client.RbacV1().ClusterRoles().Create(ctx, role("b", view, "nodes"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("a new part", rulesAre("pods nodes"))
	if err := c.Client.RbacV1().ClusterRoles().Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("a part goes", rulesAre("nodes"))
}

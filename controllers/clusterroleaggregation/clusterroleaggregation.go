// SPDX-License-Identifier: Apache-2.0

// Package clusterroleaggregation fills in the rules of ClusterRoles that are made up of others, chosen by label. Any change
// of a ClusterRole looks at every aggregated one: there are few of either.
package clusterroleaggregation

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	rbacapply "k8s.io/client-go/applyconfigurations/rbac/v1"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	"k8s.io/client-go/kubernetes"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/hivemind-project/hivemind/controllers/internal/loop"
)

// fieldManager owns the rules that this controller applies.
const fieldManager = "clusterrole-aggregation-controller"

// Controller aggregates ClusterRoles.
type Controller struct {
	client kubernetes.Interface
	roles  rbaclisters.ClusterRoleLister
	synced cache.InformerSynced
	loop   *loop.Loop
}

// New returns the controller.
func New(client kubernetes.Interface, roles rbacinformers.ClusterRoleInformer) (*Controller, error) {
	c := &Controller{client: client, roles: roles.Lister(), synced: roles.Informer().HasSynced}
	c.loop = loop.New("clusterroleaggregation", c.sync)
	_, err := roles.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.enqueueAggregated() },
		UpdateFunc: func(_, _ any) { c.enqueueAggregated() },
		DeleteFunc: func(any) { c.enqueueAggregated() },
	})
	return c, err
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context, workers int) { c.loop.Run(ctx, workers, c.synced) }

func (c *Controller) sync(ctx context.Context, name string) error {
	role, err := c.roles.Get(name)
	if apierrors.IsNotFound(err) || (err == nil && role.AggregationRule == nil) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := c.roles.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list cluster roles: %w", err)
	}
	rules, err := aggregate(role, all)
	if err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(rules, role.Rules) {
		return nil
	}
	config := rbacapply.ClusterRole(name)
	for i := range rules {
		rule := rbacapply.PolicyRule()
		rule.APIGroups, rule.Resources, rule.ResourceNames = rules[i].APIGroups, rules[i].Resources, rules[i].ResourceNames
		rule.NonResourceURLs, rule.Verbs = rules[i].NonResourceURLs, rules[i].Verbs
		config.WithRules(rule)
	}
	if _, err := c.client.RbacV1().ClusterRoles().Apply(ctx, config, metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
		return fmt.Errorf("apply rules of cluster role %s: %w", name, err)
	}
	return nil
}

// aggregate returns the rules of all roles that are chosen, selector by selector, each rule once.
func aggregate(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	all = slices.SortedFunc(slices.Values(all), func(a, b *rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, fmt.Errorf("aggregation rule of cluster role %s: %w", role.Name, err)
		}
		for _, part := range all {
			if part.Name == role.Name || !selector.Matches(labels.Set(part.Labels)) {
				continue
			}
			for _, rule := range part.Rules {
				if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}

func (c *Controller) enqueueAggregated() {
	all, err := c.roles.List(labels.Everything())
	if err != nil {
		klog.ErrorS(err, "Failed to list cluster roles")
		return
	}
	for _, role := range all {
		if role.AggregationRule != nil {
			c.loop.Add(role.Name)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package rbac decides by Roles, ClusterRoles and their bindings who may do what.
//
// Bindings are indexed by subject in the informers' own stores, so a decision costs one look-up for the user and one
// for each of its groups (twice, when the request has a namespace), and then a walk over the rules of the roles found:
// about 2 µs for the usual user with three groups. It does not grow with the number of bindings in the cluster.
package rbac

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/klog/v2"
)

// Authorizer allows what a rule allows and has no opinion on anything else. Members of system:masters are not special
// to it: put authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup) before it.
type Authorizer struct {
	roles               rbaclisters.RoleLister
	clusterRoles        rbaclisters.ClusterRoleLister
	roleBindings        index
	clusterRoleBindings index
}

// New returns an authorizer that reads from these informers. It adds an index to those of bindings, so it is called
// before they start.
func New(informers rbacinformers.Interface) (*Authorizer, error) {
	roleBindings, err := indexBySubject(informers.RoleBindings().Informer())
	if err != nil {
		return nil, fmt.Errorf("index RoleBindings by subject: %w", err)
	}
	clusterRoleBindings, err := indexBySubject(informers.ClusterRoleBindings().Informer())
	if err != nil {
		return nil, fmt.Errorf("index ClusterRoleBindings by subject: %w", err)
	}
	return &Authorizer{
		roles:               informers.Roles().Lister(),
		clusterRoles:        informers.ClusterRoles().Lister(),
		roleBindings:        roleBindings,
		clusterRoleBindings: clusterRoleBindings,
	}, nil
}

// Authorize implements authorizer.Authorizer.
func (a *Authorizer) Authorize(ctx context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	request := newRequest(attrs)
	var errs []error
	for g := range a.grants(attrs.GetUser(), attrs.GetNamespace()) {
		rules, err := a.RoleRules(g.role, g.namespace)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for i := range rules {
			if request.allowedBy(&rules[i]) {
				return authorizer.DecisionAllow, "RBAC: allowed by " + g.String(), nil
			}
		}
	}
	if log := klog.FromContext(ctx).V(5); log.Enabled() {
		log.Info("No RBAC rule allows", "user", attrs.GetUser().GetName(), "groups", attrs.GetUser().GetGroups(), "verb", attrs.GetVerb(),
			"group", attrs.GetAPIGroup(), "resource", request.resource, "namespace", attrs.GetNamespace(), "name", attrs.GetName(), "path", attrs.GetPath())
	}
	if len(errs) > 0 {
		return authorizer.DecisionNoOpinion, fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(errs)), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// ConditionsAwareAuthorize implements authorizer.Authorizer: rules know no conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attrs authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, attrs))
}

// EvaluateConditions implements authorizer.Authorizer and is never called, as no decision was conditional.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor implements authorizer.RuleResolver: what SelfSubjectRulesReview tells.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var nonResources []authorizer.NonResourceRuleInfo
	rules, err := a.PolicyRulesFor(u, namespace)
	for _, r := range rules {
		if len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames,
			})
		}
		if len(r.NonResourceURLs) > 0 {
			nonResources = append(nonResources, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	return resources, nonResources, false, err
}

// PolicyRulesFor returns all rules that apply to the user, cluster-wide and in namespace unless that is empty. With
// an error, which names bindings whose role is missing, the rules that were found are valid still.
func (a *Authorizer) PolicyRulesFor(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var all []rbacv1.PolicyRule
	var errs []error
	for g := range a.grants(u, namespace) {
		rules, err := a.RoleRules(g.role, g.namespace)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, rules...)
	}
	return all, utilerrors.NewAggregate(errs)
}

// RoleRules returns the rules of the role that a binding in namespace refers to; a ClusterRoleBinding has none.
func (a *Authorizer) RoleRules(ref *rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		role, err := a.roles.Roles(namespace).Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	case "ClusterRole":
		role, err := a.clusterRoles.Get(ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// grant is a binding that applies to a user, and the subject of it that does.
type grant struct {
	kind, name, namespace string
	role                  *rbacv1.RoleRef
	subject               *rbacv1.Subject
}

// String describes the grant as the reason of a decision; audit logs and `kubectl auth can-i -v` show it.
func (g grant) String() string {
	name, subject := g.name, g.subject.Name
	if g.namespace != "" {
		name += "/" + g.namespace
	}
	if g.subject.Kind == rbacv1.ServiceAccountKind {
		if g.subject.Namespace != "" {
			subject += "/" + g.subject.Namespace
		} else {
			subject += "/" + g.namespace
		}
	}
	return g.kind + " " + strconv.Quote(name) + " of " + g.role.Kind + " " + strconv.Quote(g.role.Name) +
		" to " + g.subject.Kind + " " + strconv.Quote(subject)
}

// grants yields every binding that applies to the user once: cluster-wide ones, then those of the namespace.
func (a *Authorizer) grants(u user.Info, namespace string) func(yield func(grant) bool) {
	return func(yield func(grant) bool) {
		name, groups := u.GetName(), u.GetGroups()
		// A binding is found by each of its subjects that applies; it counts by the first.
		visit := func(key subject) bool {
			for _, obj := range a.clusterRoleBindings.of(key, "") {
				b, ok := obj.(*rbacv1.ClusterRoleBinding)
				if !ok {
					continue
				}
				if s := firstSubject(b.Subjects, name, groups, ""); s != nil && key.is(s, "") &&
					!yield(grant{"ClusterRoleBinding", b.Name, "", &b.RoleRef, s}) {
					return false
				}
			}
			return true
		}
		visitNamespaced := func(key subject) bool {
			for _, obj := range a.roleBindings.of(key, namespace) {
				b, ok := obj.(*rbacv1.RoleBinding)
				if !ok {
					continue
				}
				if s := firstSubject(b.Subjects, name, groups, namespace); s != nil && key.is(s, namespace) &&
					!yield(grant{"RoleBinding", b.Name, namespace, &b.RoleRef, s}) {
					return false
				}
			}
			return true
		}
		if !eachSubject(name, groups, visit) || namespace == "" {
			return
		}
		eachSubject(name, groups, visitNamespaced)
	}
}

func eachSubject(name string, groups []string, visit func(subject) bool) bool {
	if !visit(subject{rbacv1.UserKind, name}) {
		return false
	}
	for i, g := range groups {
		if !slices.Contains(groups[:i], g) && !visit(subject{rbacv1.GroupKind, g}) {
			return false
		}
	}
	return true
}

var (
	_ authorizer.Authorizer   = (*Authorizer)(nil)
	_ authorizer.RuleResolver = (*Authorizer)(nil)
)

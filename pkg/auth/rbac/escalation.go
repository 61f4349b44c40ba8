// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// EscalationGuard keeps users from granting what they do not hold: a role may only be written by who holds all its
// rules or the verb escalate, and bound by who holds its rules or the verb bind. It is a validating admission
// plugin; members of system:masters pass. See https://kubernetes.io/docs/reference/access-authn-authz/rbac/.
type EscalationGuard struct {
	*admission.Handler
	rules      *Authorizer
	authorizer authorizer.UnconditionalAuthorizer
}

// NewEscalationGuard takes the rules of users from rules, and asks authorizer for the verbs escalate and bind.
func NewEscalationGuard(rules *Authorizer, authorizer authorizer.UnconditionalAuthorizer) *EscalationGuard {
	return &EscalationGuard{
		Handler:    admission.NewHandler(admission.Create, admission.Update),
		rules:      rules,
		authorizer: authorizer,
	}
}

// Validate implements admission.ValidationInterface.
func (e *EscalationGuard) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Group != rbacv1.GroupName || a.GetSubresource() != "" || slices.Contains(a.GetUserInfo().GetGroups(), user.SystemPrivilegedGroup) {
		return nil
	}
	if a.GetOldObject() != nil && onlyForCollector(a.GetObject(), a.GetOldObject()) {
		return nil
	}
	var err error
	switch obj := a.GetObject().(type) {
	case *rbacv1.Role:
		err = e.mayWriteRole(ctx, a, obj.Rules, false)
	case *rbacv1.ClusterRole:
		old, _ := a.GetOldObject().(*rbacv1.ClusterRole)
		err = e.mayWriteRole(ctx, a, obj.Rules, aggregates(obj) || aggregates(old))
	case *rbacv1.RoleBinding:
		return e.mayBind(ctx, a, obj.Name, &obj.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		return e.mayBind(ctx, a, obj.Name, &obj.RoleRef)
	}
	if err != nil {
		return apierrors.NewForbidden(a.GetResource().GroupResource(), nameOf(a.GetObject()), err)
	}
	return nil
}

func (e *EscalationGuard) mayWriteRole(ctx context.Context, a admission.Attributes, rules []rbacv1.PolicyRule, aggregates bool) error {
	// The name is that of the request's path: on create there is none, and a right to escalate one name is none to create it.
	var name string
	if info, ok := genericrequest.RequestInfoFrom(ctx); ok {
		name = info.Name
	}
	if e.allowed(ctx, a, "escalate", a.GetResource().Resource, name) {
		return nil
	}
	held, err := e.rules.PolicyRulesFor(a.GetUserInfo(), a.GetNamespace())
	if err := ConfirmNoEscalation(a.GetUserInfo(), held, err, rules); err != nil {
		return err
	}
	if aggregates && ConfirmNoEscalation(a.GetUserInfo(), held, err, everything()) != nil {
		return errors.New("must have cluster-admin privileges to use the aggregationRule")
	}
	return nil
}

func (e *EscalationGuard) mayBind(ctx context.Context, a admission.Attributes, name string, ref *rbacv1.RoleRef) error {
	resource := map[string]string{"Role": "roles", "ClusterRole": "clusterroles"}[ref.Kind]
	if resource != "" && e.allowed(ctx, a, "bind", resource, ref.Name) {
		return nil
	}
	wanted, err := e.rules.RoleRules(ref, a.GetNamespace())
	if err != nil {
		return err
	}
	held, err := e.rules.PolicyRulesFor(a.GetUserInfo(), a.GetNamespace())
	if err := ConfirmNoEscalation(a.GetUserInfo(), held, err, wanted); err != nil {
		return apierrors.NewForbidden(a.GetResource().GroupResource(), name, err)
	}
	return nil
}

func (e *EscalationGuard) allowed(ctx context.Context, a admission.Attributes, verb, resource, name string) bool {
	// An authorizer that fails has allowed nothing; the rules decide then, as they do without the verb.
	decision, _, _ := e.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User:            a.GetUserInfo(),
		Verb:            verb,
		Namespace:       a.GetNamespace(),
		APIGroup:        rbacv1.GroupName,
		APIVersion:      "*",
		Resource:        resource,
		Name:            name,
		ResourceRequest: true,
	})
	return decision == authorizer.DecisionAllow
}

// ConfirmNoEscalation returns an error that lists what of wanted is not covered by held, the rules of the user;
// heldErr is what went wrong in collecting these.
func ConfirmNoEscalation(u user.Info, held []rbacv1.PolicyRule, heldErr error, wanted []rbacv1.PolicyRule) error {
	covered, missing := validation.Covers(held, wanted)
	if covered {
		return nil
	}
	var lines []string
	for _, rule := range joinVerbs(missing) {
		lines = append(lines, compactString(rule))
	}
	slices.Sort(lines)
	message := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if heldErr != nil {
		message += fmt.Sprintf("; resolution errors: %v", []error{heldErr})
	}
	return errors.New(message)
}

// joinVerbs merges rules, each with one verb, that differ in the verb alone.
func joinVerbs(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type target struct{ group, resource, name string }
	at := map[target]int{}
	var joined []rbacv1.PolicyRule
	for _, rule := range rules {
		if len(rule.NonResourceURLs) > 0 {
			joined = append(joined, rule)
			continue
		}
		t := target{rule.APIGroups[0], rule.Resources[0], strings.Join(rule.ResourceNames, "")}
		if i, ok := at[t]; ok {
			joined[i].Verbs = append(joined[i].Verbs, rule.Verbs...)
			continue
		}
		at[t] = len(joined)
		joined = append(joined, rule)
	}
	return joined
}

func compactString(r rbacv1.PolicyRule) string {
	var parts []string
	for _, field := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(field.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", field.name, field.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func aggregates(role *rbacv1.ClusterRole) bool {
	return role != nil && role.AggregationRule != nil && len(role.AggregationRule.ClusterRoleSelectors) > 0
}

func everything() []rbacv1.PolicyRule {
	all := []string{"*"}
	return []rbacv1.PolicyRule{{Verbs: all, APIGroups: all, Resources: all}, {Verbs: all, NonResourceURLs: all}}
}

// onlyForCollector tells whether an update changes only what the garbage collector changes: owners and finalizers.
func onlyForCollector(obj, old runtime.Object) bool {
	obj = obj.DeepCopyObject()
	is, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	was, err := meta.Accessor(old)
	if err != nil {
		return false
	}
	is.SetOwnerReferences(was.GetOwnerReferences())
	is.SetFinalizers(was.GetFinalizers())
	is.SetManagedFields(was.GetManagedFields())
	return apiequality.Semantic.DeepEqual(obj, old)
}

func nameOf(obj runtime.Object) string {
	if m, err := meta.Accessor(obj); err == nil {
		return m.GetName()
	}
	return ""
}

var _ admission.ValidationInterface = (*EscalationGuard)(nil)

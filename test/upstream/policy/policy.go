// SPDX-License-Identifier: Apache-2.0

// Package policy compares the roles and bindings that Hivemind seeds a cluster with, the files config/rbac*.yaml, to those of stock
// Kubernetes. Rules are compared by what they allow, not by how they are grouped.
package policy

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
	"sigs.k8s.io/yaml"
)

// Facts are single things that a set of roles and bindings says, such as "ClusterRole view: get pods". What is not a rule of its own,
// such as which roles another gathers, is a fact as well.
type Facts map[string]bool

// Ours reads the facts of files, each a List.
func Ours(paths ...string) (Facts, error) {
	facts := Facts{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var list metav1.List
		if err := yaml.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for i, item := range list.Items {
			if err := facts.read(item.Raw); err != nil {
				return nil, fmt.Errorf("%s: item %d: %w", path, i, err)
			}
		}
	}
	return facts, nil
}

// read adds the facts of one object.
func (f Facts) read(raw []byte) error {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(raw, &meta); err != nil {
		return err
	}
	switch meta.Kind {
	case "ClusterRole":
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict(raw, &role); err != nil {
			return err
		}
		f.clusterRole(role)
	case "ClusterRoleBinding":
		var binding rbacv1.ClusterRoleBinding
		if err := yaml.UnmarshalStrict(raw, &binding); err != nil {
			return err
		}
		f.binding("ClusterRoleBinding "+binding.Name, binding.RoleRef, binding.Subjects)
	case "Role":
		var role rbacv1.Role
		if err := yaml.UnmarshalStrict(raw, &role); err != nil {
			return err
		}
		f.rules(fmt.Sprintf("Role %s/%s", role.Namespace, role.Name), role.Rules)
	case "RoleBinding":
		var binding rbacv1.RoleBinding
		if err := yaml.UnmarshalStrict(raw, &binding); err != nil {
			return err
		}
		f.binding(fmt.Sprintf("RoleBinding %s/%s", binding.Namespace, binding.Name), binding.RoleRef, binding.Subjects)
	default:
		return fmt.Errorf("%s is neither a role nor a binding", cmp.Or(meta.Kind, "an object without kind"))
	}
	return nil
}

// Stock returns the facts of stock Kubernetes, with the features that are on unless they are turned off.
func Stock() Facts {
	f := Facts{}
	for _, role := range slices.Concat(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()) {
		f.clusterRole(role)
	}
	for _, b := range slices.Concat(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()) {
		f.binding("ClusterRoleBinding "+b.Name, b.RoleRef, b.Subjects)
	}
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			f.rules(fmt.Sprintf("Role %s/%s", namespace, role.Name), role.Rules)
		}
	}
	for namespace, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, b := range bindings {
			f.binding(fmt.Sprintf("RoleBinding %s/%s", namespace, b.Name), b.RoleRef, b.Subjects)
		}
	}
	return f
}

// Less returns what f says and other does not, sorted.
func (f Facts) Less(other Facts) []string {
	var list []string
	for fact := range f {
		if !other[fact] {
			list = append(list, fact)
		}
	}
	slices.Sort(list)
	return list
}

func (f Facts) clusterRole(role rbacv1.ClusterRole) {
	what := "ClusterRole " + role.Name
	f.rules(what, role.Rules)
	if role.AggregationRule != nil {
		for _, s := range role.AggregationRule.ClusterRoleSelectors {
			f[what+": gathers "+metav1.FormatLabelSelector(&s)] = true
		}
	}
	for key, value := range role.Labels {
		if key != "kubernetes.io/bootstrapping" { // which Hivemind gives all of them when it reads the files
			f[fmt.Sprintf("%s: label %s=%s", what, key, value)] = true
		}
	}
}

func (f Facts) rules(what string, rules []rbacv1.PolicyRule) {
	f[what] = true
	for _, r := range rules {
		for _, verb := range r.Verbs {
			for _, path := range r.NonResourceURLs {
				f[fmt.Sprintf("%s: %s %s", what, verb, path)] = true
			}
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					fact := fmt.Sprintf("%s: %s %s", what, verb, resource)
					if group != "" {
						fact += " of " + group
					}
					for _, name := range r.ResourceNames {
						f[fact+" called "+name] = true
					}
					if len(r.ResourceNames) == 0 {
						f[fact] = true
					}
				}
			}
		}
	}
}

func (f Facts) binding(what string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	f[fmt.Sprintf("%s: of %s %s %s", what, ref.APIGroup, ref.Kind, ref.Name)] = true
	for _, s := range subjects {
		f[fmt.Sprintf("%s: to %s %s %s", what, s.Kind, s.Namespace, s.Name)] = true
	}
}

// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// request is what rules are held against.
type request struct {
	authorizer.Attributes
	// resource is resource/subresource, or the resource alone.
	resource string
}

func newRequest(attrs authorizer.Attributes) request {
	r := request{attrs, attrs.GetResource()}
	if sub := attrs.GetSubresource(); sub != "" {
		r.resource += "/" + sub
	}
	return r
}

// RulesAllow tells whether one of the rules allows the request.
func RulesAllow(attrs authorizer.Attributes, rules ...rbacv1.PolicyRule) bool {
	request := newRequest(attrs)
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool { return request.allowedBy(&rule) })
}

func (r request) allowedBy(rule *rbacv1.PolicyRule) bool {
	if !hasOrAll(rule.Verbs, r.GetVerb()) {
		return false
	}
	if !r.IsResourceRequest() {
		return matchesPath(rule.NonResourceURLs, r.GetPath())
	}
	return hasOrAll(rule.APIGroups, r.GetAPIGroup()) &&
		matchesResource(rule.Resources, r.resource, r.GetSubresource()) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.GetName()))
}

// hasOrAll tells whether the list has the value or "*", which verbs, groups, resources and paths share.
func hasOrAll(list []string, value string) bool {
	for _, s := range list {
		if s == "*" || s == value {
			return true
		}
	}
	return false
}

// matchesResource knows one more form: "*/scale" is that subresource of every resource.
func matchesResource(list []string, resource, subresource string) bool {
	if hasOrAll(list, resource) {
		return true
	}
	return subresource != "" && slices.ContainsFunc(list, func(s string) bool {
		after, ok := strings.CutPrefix(s, "*/")
		return ok && after == subresource
	})
}

// matchesPath knows one more form: "/healthz/*" is every path that begins so.
func matchesPath(list []string, path string) bool {
	if hasOrAll(list, path) {
		return true
	}
	return slices.ContainsFunc(list, func(s string) bool {
		return strings.HasSuffix(s, "*") && strings.HasPrefix(path, strings.TrimRight(s, "*"))
	})
}

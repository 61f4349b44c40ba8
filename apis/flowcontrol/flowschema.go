// SPDX-License-Identifier: Apache-2.0

// Package flowcontrol says what FlowSchemas and PriorityLevelConfigurations are (KEP-1040): which requests to the API server
// belong together, and how many of them it works on at once.
package flowcontrol

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/hivemind-project/hivemind/apis/check"
)

const defaultMatchingPrecedence int32 = 1000

// verbs are what a rule can name, in the order in which errors list them.
var verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

// SetDefaultsFlowSchema fills in what a FlowSchema leaves open.
func SetDefaultsFlowSchema(schema *flowcontrolv1.FlowSchema) {
	if schema.Spec.MatchingPrecedence == 0 {
		schema.Spec.MatchingPrecedence = defaultMatchingPrecedence
	}
}

// PrepareFlowSchemaForStatusUpdate leaves nothing of the metadata to whoever writes the status, not even what is immutable.
func PrepareFlowSchemaForStatusUpdate(schema, before *flowcontrolv1.FlowSchema) {
	keepMetadata(&schema.ObjectMeta, &before.ObjectMeta)
}

// keepMetadata puts all of it back but for who manages which field, which the write changes.
func keepMetadata(meta, before *metav1.ObjectMeta) {
	managed := meta.ManagedFields
	before.DeepCopyInto(meta)
	meta.ManagedFields = managed
}

// ValidateFlowSchema checks a new FlowSchema. The spec of those that every server has is fixed.
func ValidateFlowSchema(schema *flowcontrolv1.FlowSchema) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.ClusterMetadata(&schema.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateFlowSchemaSpec(p, schema.Name, &schema.Spec))
	for _, mandatory := range bootstrap.MandatoryFlowSchemas {
		if mandatory.Name == schema.Name && !equality.Semantic.DeepEqual(schema.Spec, mandatory.Spec) {
			l.Invalid(p, schema.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", schema.Name))
		}
	}
	l.Add(validateFlowSchemaStatus(&schema.Status))
	return l.Errors()
}

// ValidateFlowSchemaUpdate checks an update of a FlowSchema.
func ValidateFlowSchemaUpdate(schema, _ *flowcontrolv1.FlowSchema) field.ErrorList {
	return ValidateFlowSchema(schema)
}

// ValidateFlowSchemaStatusUpdate checks an update of a FlowSchema's status.
func ValidateFlowSchemaStatusUpdate(schema, _ *flowcontrolv1.FlowSchema) field.ErrorList {
	return validateFlowSchemaStatus(&schema.Status)
}

func validateFlowSchemaSpec(p *field.Path, name string, spec *flowcontrolv1.FlowSchemaSpec) field.ErrorList {
	var l check.List
	precedence := p.Child("matchingPrecedence")
	switch {
	case spec.MatchingPrecedence <= 0:
		l.Invalid(precedence, spec.MatchingPrecedence, "must be a positive value")
	case spec.MatchingPrecedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		l.Invalid(precedence, spec.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence))
	case spec.MatchingPrecedence == 1 && name != flowcontrolv1.FlowSchemaNameExempt:
		l.Invalid(precedence, spec.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if method := spec.DistinguisherMethod; method != nil {
		methods := []flowcontrolv1.FlowDistinguisherMethodType{flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType}
		if !slices.Contains(methods, method.Type) {
			l.Add(check.NotSupported(p.Child("distinguisherMethod", "type"), method, methods...))
		}
	}
	level := p.Child("priorityLevelConfiguration", "name")
	if reference := spec.PriorityLevelConfiguration.Name; reference == "" {
		l.Required(level, "must reference a priority level")
	} else {
		l.Each(level, reference, apivalidation.NameIsDNSSubdomain(reference, false))
	}
	for i := range spec.Rules {
		l.Add(validateRules(p.Child("rules").Index(i), &spec.Rules[i]))
	}
	return l.Errors()
}

func validateRules(p *field.Path, rules *flowcontrolv1.PolicyRulesWithSubjects) field.ErrorList {
	var l check.List
	if len(rules.Subjects) == 0 {
		l.Required(p.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range rules.Subjects {
		l.Add(validateSubject(p.Child("subjects").Index(i), &rules.Subjects[i]))
	}
	if len(rules.ResourceRules) == 0 && len(rules.NonResourceRules) == 0 {
		l.Required(p, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range rules.ResourceRules {
		l.Add(validateResourceRule(p.Child("resourceRules").Index(i), &rules.ResourceRules[i]))
	}
	for i := range rules.NonResourceRules {
		l.Add(validateNonResourceRule(p.Child("nonResourceRules").Index(i), &rules.NonResourceRules[i]))
	}
	return l.Errors()
}

// validateSubject checks that the member that the kind names is there, and no other.
func validateSubject(p *field.Path, subject *flowcontrolv1.Subject) field.ErrorList {
	var l check.List
	switch subject.Kind {
	case flowcontrolv1.SubjectKindServiceAccount:
		l.Add(validateServiceAccount(p.Child("serviceAccount"), subject.ServiceAccount))
	case flowcontrolv1.SubjectKindUser:
		l.Add(validateNamed(p.Child("user"), "User", subject.User, func(s *flowcontrolv1.UserSubject) string { return s.Name }))
	case flowcontrolv1.SubjectKindGroup:
		l.Add(validateNamed(p.Child("group"), "Group", subject.Group, func(s *flowcontrolv1.GroupSubject) string { return s.Name }))
	default:
		return check.OneOf(p.Child("kind"), subject.Kind, flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
	}
	forbid := func(kind flowcontrolv1.SubjectKind, member string, set bool) {
		if set && subject.Kind != kind {
			l.Forbidden(p.Child(member), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", member, kind))
		}
	}
	forbid(flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", subject.ServiceAccount != nil)
	forbid(flowcontrolv1.SubjectKindUser, "user", subject.User != nil)
	forbid(flowcontrolv1.SubjectKindGroup, "group", subject.Group != nil)
	return l.Errors()
}

func validateNamed[T any](p *field.Path, kind string, subject *T, name func(*T) string) field.ErrorList {
	var l check.List
	if subject == nil {
		l.Required(p, fmt.Sprintf("%s is required when subject kind is '%s'", strings.ToLower(kind), kind))
	} else if name(subject) == "" {
		l.Required(p.Child("name"), "")
	}
	return l.Errors()
}

func validateServiceAccount(p *field.Path, subject *flowcontrolv1.ServiceAccountSubject) field.ErrorList {
	var l check.List
	if subject == nil {
		l.Required(p, "serviceAccount is required when subject kind is 'ServiceAccount'")
		return l.Errors()
	}
	if subject.Name == "" {
		l.Required(p.Child("name"), "")
	} else if subject.Name != flowcontrolv1.NameAll {
		l.Each(p.Child("name"), subject.Name, apivalidation.ValidateServiceAccountName(subject.Name, false))
	}
	if subject.Namespace == "" {
		l.Required(p.Child("namespace"), "must specify namespace for service account")
	} else {
		l.Each(p.Child("namespace"), subject.Namespace, apivalidation.ValidateNamespaceName(subject.Namespace, false))
	}
	return l.Errors()
}

func validateResourceRule(p *field.Path, rule *flowcontrolv1.ResourcePolicyRule) field.ErrorList {
	var l check.List
	l.Add(validateVerbs(p.Child("verbs"), rule.Verbs))
	l.Add(validateOrAll(p.Child("apiGroups"), rule.APIGroups, "resource rules must supply at least one api group", "api groups"))
	l.Add(validateOrAll(p.Child("resources"), rule.Resources, "resource rules must supply at least one resource", "resources"))
	namespaces := p.Child("namespaces")
	if len(rule.Namespaces) == 0 && rule.ClusterScope {
		return l.Errors()
	}
	l.Add(validateOrAll(namespaces, rule.Namespaces, "resource rules that are not cluster scoped must supply at least one namespace", "namespaces"))
	if !slices.Contains(rule.Namespaces, flowcontrolv1.NamespaceEvery) {
		for i, namespace := range rule.Namespaces {
			for _, problem := range apivalidation.ValidateNamespaceName(namespace, false) {
				l.Invalid(namespaces.Index(i), namespace, "each member of this list must be '*' or a DNS-1123 label; "+problem)
			}
		}
	}
	return l.Errors()
}

func validateNonResourceRule(p *field.Path, rule *flowcontrolv1.NonResourcePolicyRule) field.ErrorList {
	var l check.List
	paths := p.Child("nonResourceURLs")
	l.Add(validateVerbs(p.Child("verbs"), rule.Verbs))
	l.Add(validateOrAll(paths, rule.NonResourceURLs, "nonResourceURLs must contain at least one value", "non-resource URLs"))
	if !slices.Contains(rule.NonResourceURLs, flowcontrolv1.NonResourceAll) {
		for i, path := range rule.NonResourceURLs {
			if problem := pathProblem(path); problem != "" {
				l.Invalid(paths.Index(i), path, problem)
			}
		}
	}
	return l.Errors()
}

func validateVerbs(p *field.Path, given []string) field.ErrorList {
	if errs := validateOrAll(p, given, "verbs must contain at least one value", "verbs"); len(errs) > 0 || slices.Contains(given, flowcontrolv1.VerbAll) {
		return errs
	}
	if sets.New(verbs...).HasAll(given...) {
		return nil
	}
	return check.NotSupported(p, given, verbs...)
}

// validateOrAll checks a list that must say something, and where it says "*" nothing else.
func validateOrAll(p *field.Path, given []string, missing, others string) field.ErrorList {
	var l check.List
	switch {
	case len(given) == 0:
		l.Required(p, missing)
	case len(given) > 1 && slices.Contains(given, "*"):
		l.Invalid(p, given, "if '*' is present, must not specify other "+others)
	}
	return l.Errors()
}

// pathProblem says what is wrong with a path that may end in a wildcard; "" when nothing is.
func pathProblem(path string) string {
	stars := strings.Count(path, "*")
	switch {
	case path == "":
		return "must not be empty"
	case path == "/":
		return ""
	case !strings.HasPrefix(path, "/"):
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(path, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}

func validateFlowSchemaStatus(status *flowcontrolv1.FlowSchemaStatus) field.ErrorList {
	types := make([]string, 0, len(status.Conditions))
	for _, condition := range status.Conditions {
		types = append(types, string(condition.Type))
	}
	return validateConditions(types)
}

// validateConditions checks the types of a status's conditions: each has one of its own.
func validateConditions(types []string) field.ErrorList {
	var l check.List
	seen := sets.New[string]()
	for i, name := range types {
		p := field.NewPath("status", "conditions").Index(i).Child("type")
		if seen.Has(name) {
			l.Duplicate(p, name)
		}
		seen.Insert(name)
		if name == "" {
			l.Required(p, "")
		}
	}
	return l.Errors()
}

// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for what steers scheduling: node selectors, affinity between pods, tolerations, topology
// spread and scheduling gates.

package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

func validateAffinity(p *field.Path, affinity *corev1.Affinity) field.ErrorList {
	if affinity == nil {
		return nil
	}
	var l check.List
	if node := affinity.NodeAffinity; node != nil {
		p := p.Child("nodeAffinity")
		if required := node.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
			l.Add(ValidateNodeSelector(p.Child("requiredDuringSchedulingIgnoredDuringExecution"), required))
		}
		for i, term := range node.PreferredDuringSchedulingIgnoredDuringExecution {
			p := p.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			l.Add(validateWeight(p, term.Weight))
			l.Add(validateNodeSelectorTerm(p.Child("preference"), term.Preference, false))
		}
	}
	if pod := affinity.PodAffinity; pod != nil {
		l.Add(validatePodAffinity(p.Child("podAffinity"),
			pod.RequiredDuringSchedulingIgnoredDuringExecution, pod.PreferredDuringSchedulingIgnoredDuringExecution))
	}
	if pod := affinity.PodAntiAffinity; pod != nil {
		l.Add(validatePodAffinity(p.Child("podAntiAffinity"),
			pod.RequiredDuringSchedulingIgnoredDuringExecution, pod.PreferredDuringSchedulingIgnoredDuringExecution))
	}
	return l.Errors()
}

func validateWeight(p *field.Path, weight int32) field.ErrorList {
	if weight > 0 && weight <= 100 {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("weight"), weight, "must be in the range 1-100")}
}

// ValidateNodeSelector checks a selector of nodes by labels and fields. At least one term is needed: a selector without
// terms matches nothing.
func ValidateNodeSelector(p *field.Path, selector *corev1.NodeSelector) field.ErrorList {
	var l check.List
	p = p.Child("nodeSelectorTerms")
	if len(selector.NodeSelectorTerms) == 0 {
		l.Required(p, "must have at least one node selector term")
	}
	for i, term := range selector.NodeSelectorTerms {
		l.Add(validateNodeSelectorTerm(p.Index(i), term, true))
	}
	return l.Errors()
}

// validateNodeSelectorTerm checks one term; values of a preference are not checked, they merely never match.
func validateNodeSelectorTerm(p *field.Path, term corev1.NodeSelectorTerm, checkValues bool) field.ErrorList {
	var l check.List
	for i, r := range term.MatchExpressions {
		l.Add(validateNodeRequirement(p.Child("matchExpressions").Index(i), r, checkValues))
	}
	for i, r := range term.MatchFields {
		l.Add(validateNodeFieldRequirement(p.Child("matchFields").Index(i), r))
	}
	return l.Errors()
}

func validateNodeRequirement(p *field.Path, r corev1.NodeSelectorRequirement, checkValues bool) field.ErrorList {
	var l check.List
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			l.Required(p.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			l.Forbidden(p.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			l.Required(p.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		l.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	l.Add(check.LabelName(p.Child("key"), r.Key))
	if checkValues {
		for i, value := range r.Values {
			l.Each(p.Child("values").Index(i), value, validation.IsValidLabelValue(value))
		}
	}
	return l.Errors()
}

func validateNodeFieldRequirement(p *field.Path, r corev1.NodeSelectorRequirement) field.ErrorList {
	var l check.List
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			l.Required(p.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
	default:
		l.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	if r.Key != metav1.ObjectNameField {
		l.Invalid(p.Child("key"), r.Key, "not a valid field selector key")
		return l.Errors()
	}
	for i, value := range r.Values {
		l.Each(p.Child("values").Index(i), value, apivalidation.NameIsDNSSubdomain(value, false))
	}
	return l.Errors()
}

func validatePodAffinity(p *field.Path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) field.ErrorList {
	var l check.List
	for i, term := range required {
		l.Add(validatePodAffinityTerm(p.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i), term))
	}
	for i, term := range preferred {
		p := p.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		l.Add(validateWeight(p, term.Weight))
		l.Add(validatePodAffinityTerm(p.Child("podAffinityTerm"), term.PodAffinityTerm))
	}
	return l.Errors()
}

func validatePodAffinityTerm(p *field.Path, term corev1.PodAffinityTerm) field.ErrorList {
	var l check.List
	l.Add(check.LabelSelector(p.Child("labelSelector"), term.LabelSelector))
	l.Add(check.LabelSelector(p.Child("namespaceSelector"), term.NamespaceSelector))
	for _, name := range term.Namespaces {
		l.Each(p.Child("namespace"), name, apivalidation.ValidateNamespaceName(name, false))
	}
	l.Add(validateLabelKeys(p, term.MatchLabelKeys, term.MismatchLabelKeys, term.LabelSelector))
	if term.TopologyKey == "" {
		l.Required(p.Child("topologyKey"), "can not be empty")
	}
	l.Add(check.LabelName(p.Child("topologyKey"), term.TopologyKey))
	return l.Errors()
}

// validateLabelKeys checks keys whose values are taken from the pod's own labels and added to the selector (KEP-3633).
// A key may be in both lists of a selector once, as this very merge has put it there, but not twice.
func validateLabelKeys(p *field.Path, match, mismatch []string, selector *metav1.LabelSelector) field.ErrorList {
	var l check.List
	for _, list := range []struct {
		name string
		keys []string
	}{{"matchLabelKeys", match}, {"mismatchLabelKeys", mismatch}} {
		p := p.Child(list.name)
		if len(list.keys) > 0 && selector == nil {
			l.Forbidden(p, "must not be specified when labelSelector is not set")
			continue
		}
		for i, key := range list.keys {
			l.Add(check.LabelName(p.Index(i), key))
		}
	}
	if selector != nil {
		index := map[string]int{}
		for i, key := range match {
			index[key] = i
		}
		selected := sets.KeySet(selector.MatchLabels)
		for _, expression := range selector.MatchExpressions {
			if i, ok := index[expression.Key]; ok && selected.Has(expression.Key) {
				l.Invalid(p.Index(i), expression.Key, "exists in both matchLabelKeys and labelSelector")
			}
			selected.Insert(expression.Key)
		}
	}
	mismatched := sets.New(mismatch...)
	for i, key := range match {
		if mismatched.Has(key) {
			l.Invalid(p.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
	return l.Errors()
}

func validateTopologySpread(p *field.Path, constraints []corev1.TopologySpreadConstraint) field.ErrorList {
	var l check.List
	for i, c := range constraints {
		p := p.Index(i)
		l.Add(check.Positive(p.Child("maxSkew"), c.MaxSkew))
		if c.TopologyKey == "" {
			l.Required(p.Child("topologyKey"), "can not be empty")
		}
		l.Add(check.OneOf(p.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway))
		for _, other := range constraints[i+1:] {
			if c.TopologyKey == other.TopologyKey && c.WhenUnsatisfiable == other.WhenUnsatisfiable {
				l.Duplicate(p.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable))
				break
			}
		}
		if c.MinDomains != nil {
			l.Add(check.Positive(p.Child("minDomains"), *c.MinDomains))
			if c.WhenUnsatisfiable != corev1.DoNotSchedule {
				l.Invalid(p.Child("minDomains"), c.MinDomains,
					fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable))
			}
		}
		for _, policy := range []struct {
			name  string
			value *corev1.NodeInclusionPolicy
		}{{"nodeAffinityPolicy", c.NodeAffinityPolicy}, {"nodeTaintsPolicy", c.NodeTaintsPolicy}} {
			if policy.value != nil {
				l.Add(check.OneOf(p.Child(policy.name), *policy.value, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore))
			}
		}
		l.Add(validateLabelKeys(p, c.MatchLabelKeys, nil, c.LabelSelector))
		l.Add(check.LabelSelector(p.Child("labelSelector"), c.LabelSelector))
	}
	return l.Errors()
}

// ValidateTolerations checks what taints of nodes a pod (or the pods of a RuntimeClass) puts up with.
func ValidateTolerations(p *field.Path, tolerations []corev1.Toleration) field.ErrorList {
	var l check.List
	for i, t := range tolerations {
		p := p.Index(i)
		if t.Key != "" {
			l.Add(check.LabelName(p.Child("key"), t.Key))
		} else if t.Operator != corev1.TolerationOpExists {
			l.Invalid(p.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			l.Invalid(p.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
				l.Invalid(p.Child("operator"), t.Value, strings.Join(messages, ";"))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				l.Invalid(p.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'")
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			// Comparison is known to the API, but behind a feature gate that is off.
			l.Add(check.NotSupported(p.Child("operator"), t.Operator,
				corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt))
		default:
			l.Add(check.OneOf(p.Child("operator"), t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists))
		}
		if t.Effect != "" {
			l.Add(validateTaintEffect(p.Child("effect"), t.Effect))
		}
	}
	return l.Errors()
}

func validateTaintEffect(p *field.Path, effect corev1.TaintEffect) field.ErrorList {
	return check.RequiredOneOf(p, effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func validateReadinessGates(p *field.Path, gates []corev1.PodReadinessGate) field.ErrorList {
	var l check.List
	for i, gate := range gates {
		l.Add(check.QualifiedName(p.Index(i).Child("conditionType"), string(gate.ConditionType)))
	}
	return l.Errors()
}

func validateSchedulingGates(p *field.Path, gates []corev1.PodSchedulingGate) field.ErrorList {
	var l check.List
	seen := sets.New[string]()
	for i, gate := range gates {
		l.Add(check.QualifiedName(p.Index(i), gate.Name))
		if seen.Has(gate.Name) {
			l.Duplicate(p.Index(i), gate.Name)
		}
		seen.Insert(gate.Name)
	}
	return l.Errors()
}

// SPDX-License-Identifier: Apache-2.0

// This file holds the rules for when pods count as failed or a job as done: pod failure policies (KEP-3329) and success
// policies (KEP-3998), and the intervals of indexes that those and a job's status are written in.

package batch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
)

func validateFailurePolicy(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	const maxRules = 20
	var l check.List
	rules := spec.PodFailurePolicy.Rules
	if len(rules) > maxRules {
		l.TooMany(p, len(rules), maxRules)
	}
	names := sets.New[string]()
	for _, containers := range [][]corev1.Container{spec.Template.Spec.Containers, spec.Template.Spec.InitContainers} {
		for i := range containers {
			names.Insert(containers[i].Name)
		}
	}
	actions := []batchv1.PodFailurePolicyAction{batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore}
	for i := range rules {
		rule, p := &rules[i], p.Index(i)
		l.Add(requiredOneOf(p.Child("action"), rule.Action, actions...))
		if rule.Action == batchv1.PodFailurePolicyActionFailIndex && spec.BackoffLimitPerIndex == nil {
			l.Invalid(p.Child("action"), rule.Action, "requires the backoffLimitPerIndex to be set")
		}
		if rule.OnExitCodes != nil {
			l.Add(validateExitCodes(p.Child("onExitCodes"), rule.OnExitCodes, names))
		}
		l.Add(validatePodConditions(p.Child("onPodConditions"), rule.OnPodConditions))
		switch conditions := len(rule.OnPodConditions) > 0; {
		case rule.OnExitCodes != nil && conditions:
			l.Invalid(p, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
		case rule.OnExitCodes == nil && !conditions:
			l.Invalid(p, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
		}
	}
	return l.Errors()
}

// requiredOneOf names the valid values when the value is missing, too.
func requiredOneOf[T ~string](p *field.Path, value T, valid ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, fmt.Sprintf("valid values: %q", valid))}
	}
	return check.OneOf(p, value, valid...)
}

func validateExitCodes(p *field.Path, codes *batchv1.PodFailurePolicyOnExitCodesRequirement, containers sets.Set[string]) field.ErrorList {
	const maxValues = 255
	var l check.List
	l.Add(requiredOneOf(p.Child("operator"), codes.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn))
	if name := codes.ContainerName; name != nil && !containers.Has(*name) {
		l.Invalid(p.Child("containerName"), *name, "must be one of the container or initContainer names in the pod template")
	}
	at := p.Child("values")
	if n := len(codes.Values); n == 0 {
		l.Invalid(at, codes.Values, "at least one value is required")
	} else if n > maxValues {
		l.TooMany(at, n, maxValues)
	}
	for i, value := range codes.Values {
		if value == 0 && codes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			l.Invalid(at.Index(i), value, "must not be 0 for the In operator")
		}
		if slices.Contains(codes.Values[:i], value) {
			l.Duplicate(at.Index(i), value)
		}
	}
	if !slices.IsSorted(codes.Values) {
		l.Invalid(at, codes.Values, "must be ordered")
	}
	return l.Errors()
}

func validatePodConditions(p *field.Path, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) field.ErrorList {
	const maxPatterns = 20
	var l check.List
	if len(patterns) > maxPatterns {
		l.TooMany(p, len(patterns), maxPatterns)
	}
	for i, pattern := range patterns {
		l.Add(check.QualifiedName(p.Index(i).Child("type"), string(pattern.Type)))
		l.Add(requiredOneOf(p.Index(i).Child("status"), pattern.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown))
	}
	return l.Errors()
}

func validateSuccessPolicy(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	const maxRules, maxIndexesLength = 20, 64 * 1024
	var l check.List
	rules := spec.SuccessPolicy.Rules
	if len(rules) == 0 {
		l.Required(p, "at least one rules must be specified when the successPolicy is specified")
	}
	if len(rules) > maxRules {
		l.TooMany(p, len(rules), maxRules)
	}
	if spec.Completions == nil {
		return l.Errors() // An indexed job must have completions; that is reported on its own.
	}
	completions := *spec.Completions
	for i, rule := range rules {
		p := p.Index(i)
		if rule.SucceededCount == nil && rule.SucceededIndexes == nil {
			l.Required(p, "at least one of succeededCount or succeededIndexes must be specified")
		}
		var total int32
		if rule.SucceededIndexes != nil {
			at := p.Child("succeededIndexes")
			if len(*rule.SucceededIndexes) > maxIndexesLength {
				l.TooLong(at, maxIndexesLength)
			}
			intervals, err := parseIndexes(*rule.SucceededIndexes, completions)
			if err != nil {
				l.Invalid(at, *rule.SucceededIndexes, fmt.Sprintf("error parsing succeededIndexes: %s", err))
			}
			for _, in := range intervals {
				total += in.last - in.first + 1
			}
		}
		if rule.SucceededCount == nil {
			continue
		}
		count, at := *rule.SucceededCount, p.Child("succeededCount")
		l.Add(check.NonNegative(at, count))
		if count > completions {
			l.Invalid(at, count, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions))
		}
		if rule.SucceededIndexes != nil && count > total {
			l.Invalid(at, count, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total))
		}
	}
	return l.Errors()
}

// interval is a range of indexes, both ends included.
type interval struct{ first, last int32 }

// parseIndexes reads intervals such as 1,3-5,7, which must ascend and lie below completions.
func parseIndexes(indexes string, completions int32) ([]interval, error) {
	if indexes == "" {
		return nil, nil
	}
	var intervals []interval
	for i, fragment := range strings.Split(indexes, ",") {
		in, err := parseInterval(fragment, completions)
		if err != nil {
			return nil, err
		}
		if i > 0 && intervals[i-1].last >= in.first {
			return nil, fmt.Errorf("non-increasing order, previous: %d, current: %d", intervals[i-1].last, in.first)
		}
		intervals = append(intervals, in)
	}
	return intervals, nil
}

func parseInterval(fragment string, completions int32) (interval, error) {
	ends := strings.Split(fragment, "-")
	if len(ends) > 2 {
		return interval{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", fragment)
	}
	var numbers []int
	for _, end := range ends {
		n, err := strconv.Atoi(end)
		if err != nil {
			return interval{}, fmt.Errorf("cannot convert string to integer for index: %q", end)
		}
		if n >= int(completions) {
			return interval{}, fmt.Errorf("too large index: %q", end)
		}
		numbers = append(numbers, n)
	}
	first, last := numbers[0], numbers[len(numbers)-1]
	if len(numbers) == 2 && first >= last {
		return interval{}, fmt.Errorf("non-increasing order, previous: %d, current: %d", first, last)
	}
	return interval{int32(first), int32(last)}, nil
}

// overlap returns the first index that both ascending lists have. Linear in their length.
func overlap(a, b []interval) (int32, bool) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if a[i].first <= b[j].last && b[j].first <= a[i].last {
			return max(a[i].first, b[j].first), true
		}
		if a[i].first <= b[j].first {
			i++
		} else {
			j++
		}
	}
	return 0, false
}

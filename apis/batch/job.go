// SPDX-License-Identifier: Apache-2.0

// Package batch says what Job and CronJob are: their defaults, and what creates, updates and status updates may contain.
// The functions are named to the rule of package core.
//
// This file holds Job.
package batch

import (
	"fmt"
	"math"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// The labels that tie pods to their job, as they were named before they had a domain.
const (
	legacyControllerUIDLabel = "controller-uid"
	legacyJobNameLabel       = "job-name"
)

// SetDefaultsJob fills in what a Job leaves open.
func SetDefaultsJob(job *batchv1.Job) {
	if fromTemplate := job.Spec.Template.Labels; fromTemplate != nil && len(job.Labels) == 0 {
		job.Labels = fromTemplate
	}
	spec := &job.Spec
	if spec.Completions == nil && spec.Parallelism == nil {
		spec.Completions = ptr.To[int32](1)
	}
	setIfNil(&spec.Parallelism, 1)
	if spec.BackoffLimitPerIndex != nil {
		setIfNil(&spec.BackoffLimit, math.MaxInt32)
	}
	setIfNil(&spec.BackoffLimit, 6)
	setIfNil(&spec.CompletionMode, batchv1.NonIndexedCompletion)
	setIfNil(&spec.Suspend, false)
	if spec.PodFailurePolicy != nil {
		setIfNil(&spec.PodReplacementPolicy, batchv1.Failed)
	}
	setIfNil(&spec.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	setIfNil(&spec.ManualSelector, false)
	setTemplateDefaults(spec)
}

// setTemplateDefaults fills in what jobs and job templates default alike.
func setTemplateDefaults(spec *batchv1.JobSpec) {
	if spec.PodFailurePolicy != nil {
		for i := range spec.PodFailurePolicy.Rules {
			for j := range spec.PodFailurePolicy.Rules[i].OnPodConditions {
				if c := &spec.PodFailurePolicy.Rules[i].OnPodConditions[j]; c.Status == "" {
					c.Status = corev1.ConditionTrue
				}
			}
		}
	}
	core.SetDefaultsPodTemplateSpec(&spec.Template)
}

// PrepareJobForCreate gives a job that does not select by hand the labels and selector that tie its pods to it. The UID
// must be set already.
func PrepareJobForCreate(job *batchv1.Job) {
	core.PreparePodTemplateSpec(&job.Spec.Template, nil)
	job.Spec.Scheduling = nil // Gang scheduling is behind a feature gate that is off.
	if ptr.Deref(job.Spec.ManualSelector, false) {
		return
	}
	// Where the job's own labels are the template's by default, the two are one map, and the job gets these as well.
	if job.Spec.Template.Labels == nil {
		job.Spec.Template.Labels = map[string]string{}
	}
	for _, label := range generatedLabels(job) {
		if _, ok := job.Spec.Template.Labels[label.key]; !ok {
			job.Spec.Template.Labels[label.key] = label.value
		}
	}
	setIfNil(&job.Spec.Selector, metav1.LabelSelector{})
	if job.Spec.Selector.MatchLabels == nil {
		job.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := job.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		job.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(job.UID)
	}
}

type label struct{ key, value string }

func generatedLabels(job *batchv1.Job) []label {
	return []label{
		{legacyControllerUIDLabel, string(job.UID)},
		{legacyJobNameLabel, job.Name},
		{batchv1.ControllerUidLabel, string(job.UID)},
		{batchv1.JobNameLabel, job.Name},
	}
}

// PrepareJobForUpdate prepares the template.
func PrepareJobForUpdate(job, before *batchv1.Job) {
	core.PreparePodTemplateSpec(&job.Spec.Template, &before.Spec.Template)
	job.Spec.Scheduling = before.Spec.Scheduling
}

// ValidateJob checks a new Job.
func ValidateJob(job *batchv1.Job) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.Metadata(&job.ObjectMeta, apivalidation.NameIsDNSSubdomain))
	l.Add(validateGeneratedSelector(job))
	l.Add(validateJobAndSelector(p, &job.Spec))
	if n := ptr.Deref(job.Spec.Completions, 0); isIndexed(&job.Spec) && n > 0 {
		if host := fmt.Sprintf("%s-%d", job.Name, n-1); len(validation.IsDNS1123Label(host)) > 0 {
			l.Invalid(field.NewPath("metadata", "name"), job.Name, "will not able to create pod with invalid DNS label: "+host)
		}
	}
	return l.Errors()
}

func validateGeneratedSelector(job *batchv1.Job) field.ErrorList {
	if ptr.Deref(job.Spec.ManualSelector, false) || job.Spec.Selector == nil {
		return nil
	}
	var l check.List
	if job.UID == "" {
		l.Required(field.NewPath("metadata", "uid"), "")
	}
	p := field.NewPath("spec", "template", "metadata", "labels")
	want := labels.Set{}
	for _, label := range generatedLabels(job) {
		want[label.key] = label.value
		message := fmt.Sprintf("must be '%s'", label.value)
		if value, ok := job.Spec.Template.Labels[label.key]; !ok {
			l.Required(p.Key(label.key), message)
		} else if value != label.value {
			l.Invalid(p.Key(label.key), job.Spec.Template.Labels, message)
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector); err == nil && !selector.Matches(want) {
		l.Invalid(field.NewPath("spec", "selector"), job.Spec.Selector, "`selector` not auto-generated")
	}
	return l.Errors()
}

func validateJobAndSelector(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	var l check.List
	l.Add(validateJobSpec(p, spec))
	if spec.Selector == nil {
		l.Required(p.Child("selector"), "")
	} else {
		l.Add(check.LabelSelector(p.Child("selector"), spec.Selector))
	}
	if selector, err := metav1.LabelSelectorAsSelector(spec.Selector); err == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		l.Invalid(p.Child("template", "metadata", "labels"), spec.Template.Labels, "`selector` does not match template `labels`")
	}
	return l.Errors()
}

// validateJobSpec holds the rules for jobs and job templates.
func validateJobSpec(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	const maxManagedBy = 63
	var l check.List
	l.Add(check.NonNegativeIfSet(p.Child("parallelism"), spec.Parallelism))
	l.Add(check.NonNegativeIfSet(p.Child("completions"), spec.Completions))
	l.Add(check.NonNegativeIfSet(p.Child("activeDeadlineSeconds"), spec.ActiveDeadlineSeconds))
	l.Add(check.NonNegativeIfSet(p.Child("backoffLimit"), spec.BackoffLimit))
	l.Add(check.NonNegativeIfSet(p.Child("ttlSecondsAfterFinished"), spec.TTLSecondsAfterFinished))
	l.Add(check.NonNegativeIfSet(p.Child("backoffLimitPerIndex"), spec.BackoffLimitPerIndex))
	l.Add(check.NonNegativeIfSet(p.Child("maxFailedIndexes"), spec.MaxFailedIndexes))
	if spec.MaxFailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		l.Required(p.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	if by := spec.ManagedBy; by != nil {
		l.Add(validation.IsDomainPrefixedPath(p.Child("managedBy"), *by))
		if len(*by) > maxManagedBy {
			l.TooLong(p.Child("managedBy"), maxManagedBy)
		}
	}
	l.Add(validateCompletionMode(p, spec))
	if spec.PodFailurePolicy != nil {
		l.Add(validateFailurePolicy(p.Child("podFailurePolicy", "rules"), spec))
	}
	if policy := spec.SuccessPolicy; policy != nil {
		if isIndexed(spec) {
			l.Add(validateSuccessPolicy(p.Child("successPolicy", "rules"), spec))
		} else {
			l.Invalid(p.Child("successPolicy"), *policy, "requires indexed completion mode")
		}
	}
	if policy := spec.PodReplacementPolicy; policy != nil {
		supported := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
		if spec.PodFailurePolicy != nil {
			supported = supported[:1]
		}
		l.Add(check.OneOf(p.Child("podReplacementPolicy"), *policy, supported...))
	}
	l.Add(core.ValidatePodTemplateSpec(p.Child("template"), &spec.Template))
	restart := p.Child("template", "spec", "restartPolicy")
	switch policy := spec.Template.Spec.RestartPolicy; policy {
	case corev1.RestartPolicyNever:
	case corev1.RestartPolicyOnFailure:
		if spec.PodFailurePolicy != nil {
			l.Invalid(restart, policy, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))
		}
	case corev1.RestartPolicyAlways, "":
		l.Required(restart, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	default:
		l.Add(check.OneOf(restart, policy, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	}
	return l.Errors()
}

func isIndexed(spec *batchv1.JobSpec) bool {
	return ptr.Deref(spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

// validateCompletionMode bounds jobs with an index a pod by what their status can hold (KEP-2214, KEP-3850).
func validateCompletionMode(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	const maxIndexed, softCompletions, maxWithMany = 100_000, 100_000, 10_000
	var l check.List
	if mode := spec.CompletionMode; mode != nil {
		l.Add(check.OneOf(p.Child("completionMode"), *mode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion))
	}
	perIndex, failed := spec.BackoffLimitPerIndex, spec.MaxFailedIndexes
	if spec.CompletionMode == nil || *spec.CompletionMode == batchv1.NonIndexedCompletion {
		const why = "requires indexed completion mode"
		if perIndex != nil {
			l.Invalid(p.Child("backoffLimitPerIndex"), *perIndex, why)
		}
		if failed != nil {
			l.Invalid(p.Child("maxFailedIndexes"), *failed, why)
		}
	}
	if !isIndexed(spec) {
		return l.Errors()
	}
	if spec.Completions == nil {
		l.Required(p.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion))
	}
	if n := spec.Parallelism; n != nil && *n > maxIndexed {
		l.Invalid(p.Child("parallelism"), *n, fmt.Sprintf("must be less than or equal to %d when completion mode is %s", maxIndexed, batchv1.IndexedCompletion))
	}
	if failed != nil && spec.Completions != nil && *failed > *spec.Completions {
		l.Invalid(p.Child("maxFailedIndexes"), *failed, "must be less than or equal to completions")
	}
	if failed != nil && *failed > maxIndexed {
		l.Invalid(p.Child("maxFailedIndexes"), *failed, fmt.Sprintf("must be less than or equal to %d", maxIndexed))
	}
	if ptr.Deref(spec.Completions, 0) > softCompletions && perIndex != nil {
		why := fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", maxWithMany, softCompletions)
		if failed == nil {
			l.Required(p.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", softCompletions))
		}
		if n := spec.Parallelism; n != nil && *n > maxWithMany {
			l.Invalid(p.Child("parallelism"), *n, why)
		}
		if failed != nil && *failed > maxWithMany {
			l.Invalid(p.Child("maxFailedIndexes"), *failed, why)
		}
	}
	return l.Errors()
}

// ValidateJobUpdate checks an update of a Job.
func ValidateJobUpdate(job, before *batchv1.Job) field.ErrorList {
	var l check.List
	p, spec, older := field.NewPath("spec"), &job.Spec, &before.Spec
	l.Add(ValidateJob(job))
	l.Add(check.MetadataUpdate(&job.ObjectMeta, &before.ObjectMeta))
	if !isIndexed(spec) {
		l.Add(check.Immutable(p.Child("completions"), spec.Completions, older.Completions))
	} else if n := spec.Completions; n != nil && !ptr.Equal(n, older.Completions) && !ptr.Equal(n, spec.Parallelism) {
		l.Invalid(p.Child("completions"), n, "can only be modified in tandem with spec.parallelism")
	}
	l.Add(check.Immutable(p.Child("selector"), spec.Selector, older.Selector))
	l.Add(validateTemplateUpdate(p, spec, before))
	l.Add(check.Immutable(p.Child("completionMode"), spec.CompletionMode, older.CompletionMode))
	l.Add(check.Immutable(p.Child("podFailurePolicy"), spec.PodFailurePolicy, older.PodFailurePolicy))
	l.Add(check.Immutable(p.Child("backoffLimitPerIndex"), spec.BackoffLimitPerIndex, older.BackoffLimitPerIndex))
	l.Add(check.Immutable(p.Child("managedBy"), spec.ManagedBy, older.ManagedBy))
	l.Add(check.Immutable(p.Child("successPolicy"), spec.SuccessPolicy, older.SuccessPolicy))
	return l.Errors()
}

// validateTemplateUpdate keeps the template as it is, but that a queue may still place the pods of a job that is
// suspended and has none: scheduling directives and resources may change then (KEP-2926, KEP-5440).
func validateTemplateUpdate(p *field.Path, spec *batchv1.JobSpec, before *batchv1.Job) field.ErrorList {
	at, now, older := p.Child("template"), &spec.Template, before.Spec.Template.DeepCopy()
	stopped := before.Status.StartTime == nil || hasCondition(before, batchv1.JobSuspended)
	if !ptr.Deref(before.Spec.Suspend, false) || !stopped || before.Status.Active != 0 {
		return check.Immutable(at, now, older)
	}
	if now.Spec.Affinity != nil || older.Spec.Affinity != nil {
		affinity := ptr.Deref(older.Spec.Affinity, corev1.Affinity{})
		affinity.NodeAffinity = ptr.Deref(now.Spec.Affinity, corev1.Affinity{}).NodeAffinity
		older.Spec.Affinity = &affinity
		if now.Spec.Affinity == nil && affinity == (corev1.Affinity{}) {
			older.Spec.Affinity = nil
		}
	}
	older.Annotations, older.Labels = now.Annotations, now.Labels
	older.Spec.NodeSelector, older.Spec.Tolerations, older.Spec.SchedulingGates = now.Spec.NodeSelector, now.Spec.Tolerations, now.Spec.SchedulingGates
	resources := func(now, older []corev1.Container) {
		for i := range older {
			if len(now) == len(older) && now[i].Name == older[i].Name {
				older[i].Resources = now[i].Resources
			}
		}
	}
	resources(now.Spec.Containers, older.Spec.Containers)
	resources(now.Spec.InitContainers, older.Spec.InitContainers)
	if equality.Semantic.DeepEqual(now.Spec, older.Spec) {
		return nil
	}
	var l check.List
	l.Invalid(p.Child("template.spec"), now.Spec, apivalidation.FieldImmutableErrorMsg)
	return l.Errors()
}

func setIfNil[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

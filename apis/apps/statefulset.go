// SPDX-License-Identifier: Apache-2.0

// This file holds what a StatefulSet is, and ControllerRevision, which StatefulSets and DaemonSets keep their history in.

package apps

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// SetDefaultsStatefulSet fills in what a StatefulSet leaves open.
func SetDefaultsStatefulSet(sts *appsv1.StatefulSet) {
	spec := &sts.Spec
	if spec.PodManagementPolicy == "" {
		spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	if spec.UpdateStrategy.Type == "" {
		spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		setIfNil(&spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if update := spec.UpdateStrategy.RollingUpdate; update != nil && spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		setIfNil(&update.Partition, 0)
	}
	setIfNil(&spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	retain := spec.PersistentVolumeClaimRetentionPolicy
	if retain.WhenDeleted == "" {
		retain.WhenDeleted = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if retain.WhenScaled == "" {
		retain.WhenScaled = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	setIfNil(&spec.Replicas, 1)
	setIfNil(&spec.RevisionHistoryLimit, 10)
	core.SetDefaultsPodTemplateSpec(&spec.Template)
	for i := range spec.VolumeClaimTemplates {
		template := &spec.VolumeClaimTemplates[i]
		template.APIVersion, template.Kind = "v1", "PersistentVolumeClaim"
		core.SetDefaultsPersistentVolumeClaim(template)
	}
}

// PrepareStatefulSetForCreate prepares the template. maxUnavailable is behind a feature gate that is off.
func PrepareStatefulSetForCreate(sts *appsv1.StatefulSet) {
	core.PreparePodTemplateSpec(&sts.Spec.Template, nil)
	if update := sts.Spec.UpdateStrategy.RollingUpdate; update != nil {
		update.MaxUnavailable = nil
	}
}

// PrepareStatefulSetForUpdate prepares the template, and takes maxUnavailable out unless it was there.
func PrepareStatefulSetForUpdate(sts, before *appsv1.StatefulSet) {
	core.PreparePodTemplateSpec(&sts.Spec.Template, &before.Spec.Template)
	older := before.Spec.UpdateStrategy.RollingUpdate
	if update := sts.Spec.UpdateStrategy.RollingUpdate; update != nil && (older == nil || older.MaxUnavailable == nil) {
		update.MaxUnavailable = nil
	}
}

// ValidateStatefulSet checks a new StatefulSet.
func ValidateStatefulSet(sts *appsv1.StatefulSet) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.Metadata(&sts.ObjectMeta, apivalidation.NameIsDNSLabel))
	l.Add(validateStatefulSetSpec(p, &sts.Spec, true))
	return l.Errors()
}

// ValidateStatefulSetUpdate checks an update of a StatefulSet. Name of service and claim templates are immutable, so
// they are not looked at again.
func ValidateStatefulSetUpdate(sts, before *appsv1.StatefulSet) field.ErrorList {
	var l check.List
	p := field.NewPath("spec")
	l.Add(check.MetadataUpdate(&sts.ObjectMeta, &before.ObjectMeta))
	l.Add(validateStatefulSetSpec(p, &sts.Spec, false))
	rest := sts.Spec.DeepCopy()
	rest.Replicas = before.Spec.Replicas
	rest.Template = before.Spec.Template
	rest.UpdateStrategy = before.Spec.UpdateStrategy
	rest.MinReadySeconds = before.Spec.MinReadySeconds
	rest.Ordinals = before.Spec.Ordinals
	rest.RevisionHistoryLimit = before.Spec.RevisionHistoryLimit
	rest.PersistentVolumeClaimRetentionPolicy = before.Spec.PersistentVolumeClaimRetentionPolicy
	if !equality.Semantic.DeepEqual(*rest, before.Spec) {
		l.Forbidden(p, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "+
			"'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")
	}
	return l.Errors()
}

func validateStatefulSetSpec(p *field.Path, spec *appsv1.StatefulSetSpec, create bool) field.ErrorList {
	var l check.List
	switch spec.PodManagementPolicy {
	case "":
		l.Required(p.Child("podManagementPolicy"), "")
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		l.Invalid(p.Child("podManagementPolicy"), spec.PodManagementPolicy,
			fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement))
	}
	l.Add(validateStatefulSetStrategy(p.Child("updateStrategy"), &spec.UpdateStrategy))
	if policy := spec.PersistentVolumeClaimRetentionPolicy; policy != nil {
		p := p.Child("persistentVolumeClaimRetentionPolicy")
		l.Add(validateRetention(p.Child("whenDeleted"), policy.WhenDeleted))
		l.Add(validateRetention(p.Child("whenScaled"), policy.WhenScaled))
	}
	if create {
		for i := range spec.VolumeClaimTemplates {
			l.Add(core.ValidatePersistentVolumeClaimSpec(p.Child("volumeClaimTemplates").Index(i).Child("spec"), &spec.VolumeClaimTemplates[i].Spec))
		}
	}
	l.Add(check.NonNegativeIfSet(p.Child("replicas"), spec.Replicas))
	l.Add(check.NonNegative(p.Child("minReadySeconds"), spec.MinReadySeconds))
	if spec.Ordinals != nil {
		l.Add(check.NonNegative(p.Child("ordinals.start"), spec.Ordinals.Start))
	}
	if create && spec.ServiceName != "" {
		l.Add(check.DNSLabel(p.Child("serviceName"), spec.ServiceName))
	}
	l.Add(validateSelector(p.Child("selector"), spec.Selector, "statefulset"))
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		l.Invalid(p.Child("selector"), spec.Selector, "")
	} else {
		l.Add(validateSelected(p.Child("template"), selector, &spec.Template))
		l.Add(core.ValidatePodTemplateSpec(p.Child("template"), podTemplate(spec)))
	}
	l.Add(validateAlwaysRunning(p.Child("template"), &spec.Template, "StatefulSet"))
	return l.Errors()
}

// podTemplate returns the template as its pods will have it: with a volume for each claim template, and without the
// names that the controller gives.
func podTemplate(spec *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	template := spec.Template.DeepCopy()
	template.Spec.Hostname, template.Spec.Subdomain = "", ""
	if len(spec.VolumeClaimTemplates) == 0 {
		return template
	}
	var volumes []corev1.Volume
	claimed := map[string]bool{}
	for _, claim := range spec.VolumeClaimTemplates {
		if claimed[claim.Name] {
			continue
		}
		claimed[claim.Name] = true
		volumes = append(volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name}}})
	}
	for _, v := range template.Spec.Volumes {
		if !claimed[v.Name] {
			volumes = append(volumes, v)
		}
	}
	template.Spec.Volumes = volumes
	return template
}

func validateStatefulSetStrategy(p *field.Path, strategy *appsv1.StatefulSetUpdateStrategy) field.ErrorList {
	var l check.List
	switch update := strategy.RollingUpdate; strategy.Type {
	case "":
		l.Required(p, "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if update != nil {
			l.Invalid(p.Child("rollingUpdate"), update, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if update == nil {
			break
		}
		p := p.Child("rollingUpdate")
		l.Add(check.NonNegativeIfSet(p.Child("partition"), update.Partition))
		if most := update.MaxUnavailable; most != nil {
			l.Add(check.IntOrPercent(p.Child("maxUnavailable"), *most))
			if check.Number(*most) == 0 {
				l.Invalid(p.Child("maxUnavailable"), *most, "cannot be 0")
			}
			l.Add(check.AtMostAll(p.Child("maxUnavailable"), *most))
		}
	default:
		l.Invalid(p, strategy, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))
	}
	return l.Errors()
}

func validateRetention(p *field.Path, policy appsv1.PersistentVolumeClaimRetentionPolicyType) field.ErrorList {
	return check.OneOf(p, policy, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
}

// ValidateStatefulSetStatusUpdate checks an update of a StatefulSet's status.
func ValidateStatefulSetStatusUpdate(sts, before *appsv1.StatefulSet) field.ErrorList {
	var l check.List
	p, s := field.NewPath("status"), &sts.Status
	l.Add(check.NonNegative(p.Child("replicas"), s.Replicas))
	l.Add(check.NonNegative(p.Child("readyReplicas"), s.ReadyReplicas))
	l.Add(check.NonNegative(p.Child("currentReplicas"), s.CurrentReplicas))
	l.Add(check.NonNegative(p.Child("updatedReplicas"), s.UpdatedReplicas))
	l.Add(check.NonNegative(p.Child("availableReplicas"), s.AvailableReplicas))
	l.Add(check.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration))
	l.Add(check.NonNegativeIfSet(p.Child("collisionCount"), s.CollisionCount))
	l.Add(check.ReplicaCounts(p, s.Replicas, check.Count{Name: "readyReplicas", Value: s.ReadyReplicas},
		check.Count{Name: "currentReplicas", Value: s.CurrentReplicas}, check.Count{Name: "updatedReplicas", Value: s.UpdatedReplicas},
		check.Count{Name: "availableReplicas", Value: s.AvailableReplicas}))
	l.Add(validateAvailable(p, s.AvailableReplicas, s.ReadyReplicas, "status.readyReplicas"))
	l.Add(check.MetadataUpdate(&sts.ObjectMeta, &before.ObjectMeta))
	l.Add(validateCollisionCount(p, s.CollisionCount, before.Status.CollisionCount))
	return l.Errors()
}

// ValidateControllerRevision checks a new ControllerRevision, whose data must be a JSON object.
func ValidateControllerRevision(revision *appsv1.ControllerRevision) field.ErrorList {
	var l check.List
	p := field.NewPath("data")
	l.Add(validateRevision(revision))
	var data any
	if revision.Data.Raw == nil {
		l.Required(p, "data is mandatory")
	} else if err := json.Unmarshal(revision.Data.Raw, &data); err != nil {
		l.Invalid(p, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))
	} else if data == nil {
		l.Required(p, "data is mandatory")
	} else if _, ok := data.(map[string]any); !ok {
		l.Required(p, "data must be a valid JSON object")
	}
	return l.Errors()
}

// ValidateControllerRevisionUpdate checks an update of a ControllerRevision: its data never changes.
func ValidateControllerRevisionUpdate(revision, before *appsv1.ControllerRevision) field.ErrorList {
	var l check.List
	l.Add(check.MetadataUpdate(&revision.ObjectMeta, &before.ObjectMeta))
	l.Add(validateRevision(revision))
	l.Add(check.Immutable(field.NewPath("data"), revision.Data, before.Data))
	return l.Errors()
}

func validateRevision(revision *appsv1.ControllerRevision) field.ErrorList {
	errs := check.Metadata(&revision.ObjectMeta, apivalidation.NameIsDNSSubdomain)
	return append(errs, check.NonNegative(field.NewPath("revision"), revision.Revision)...)
}

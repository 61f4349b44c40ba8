// SPDX-License-Identifier: Apache-2.0

// This file holds what is said about workloads that are valid but not what their authors will want. Their pods' templates are looked
// at when they are new or have changed.

package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// WarningsDeployment returns what is to be said about a deployment.
func WarningsDeployment(d, before *appsv1.Deployment) []string {
	var w check.Warnings
	if before == nil {
		w.Add(core.WarningsNameOfPods(d.Name)...)
	}
	if before == nil || before.Generation != d.Generation {
		w.Add(core.WarningsPodTemplateSpec(field.NewPath("spec", "template"), &d.Spec.Template)...)
	}
	return w.Texts()
}

// WarningsReplicaSet returns what is to be said about a replica set.
func WarningsReplicaSet(rs, before *appsv1.ReplicaSet) []string {
	var w check.Warnings
	if before == nil {
		w.Add(core.WarningsNameOfPods(rs.Name)...)
	}
	if before == nil || before.Generation != rs.Generation {
		w.Add(core.WarningsPodTemplateSpec(field.NewPath("spec", "template"), &rs.Spec.Template)...)
	}
	return w.Texts()
}

// WarningsStatefulSet returns what is to be said about a stateful set.
func WarningsStatefulSet(set, before *appsv1.StatefulSet) []string {
	var w check.Warnings
	if before == nil || before.Generation != set.Generation {
		w.Add(core.WarningsPodTemplateSpec(field.NewPath("spec", "template"), &set.Spec.Template)...)
	}
	for i := range set.Spec.VolumeClaimTemplates {
		p := field.NewPath("spec", "volumeClaimTemplates").Index(i)
		if before != nil {
			p = p.Child("Spec") // as kube-apiserver has it
		}
		w.Add(core.WarningsPersistentVolumeClaimSpec(p, &set.Spec.VolumeClaimTemplates[i].Spec)...)
	}
	if limit := set.Spec.RevisionHistoryLimit; limit != nil && *limit < 0 {
		w.At(field.NewPath("spec", "revisionHistoryLimit"), "a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return w.Texts()
}

// WarningsDaemonSet returns what is to be said about a daemon set.
func WarningsDaemonSet(d, before *appsv1.DaemonSet) []string {
	if before != nil && (before.Generation == d.Generation || apiequality.Semantic.DeepEqual(d.Spec.Template, before.Spec.Template)) {
		return nil
	}
	return core.WarningsPodTemplateSpec(field.NewPath("spec", "template"), &d.Spec.Template)
}

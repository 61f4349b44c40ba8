// SPDX-License-Identifier: Apache-2.0

// This file holds what is said about jobs that are valid but not what their authors will want.

package batch

import (
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// DeleteWarning is for whoever deletes Jobs and does not say what becomes of their pods.
const DeleteWarning = "child pods are preserved by default when jobs are deleted; " +
	"set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"

// WarningsJob returns what is to be said about a job.
func WarningsJob(j, before *batchv1.Job) []string {
	var w check.Warnings
	if before == nil {
		w.Add(core.WarningsNameOfPods(j.Name)...)
	}
	if before == nil || before.Generation != j.Generation {
		warnJobSpec(&w, field.NewPath("spec"), &j.Spec)
	}
	return w.Texts()
}

// WarningsCronJob returns what is to be said about a cron job.
func WarningsCronJob(c, before *batchv1.CronJob) []string {
	var w check.Warnings
	if before == nil {
		w.Add(core.WarningsNameOfPods(c.Name)...)
	}
	if before == nil || before.Generation != c.Generation {
		warnJobSpec(&w, field.NewPath("spec", "jobTemplate", "spec"), &c.Spec.JobTemplate.Spec)
	}
	if before != nil && strings.Contains(c.Spec.Schedule, "TZ") {
		// The path is kube-apiserver's.
		w.Add("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return w.Texts()
}

func warnJobSpec(w *check.Warnings, p *field.Path, spec *batchv1.JobSpec) {
	indexed := spec.CompletionMode != nil && *spec.CompletionMode == batchv1.IndexedCompletion
	if indexed && spec.Completions != nil && *spec.Completions > 100_000 && spec.Parallelism != nil && *spec.Parallelism > 10_000 {
		w.At(p, "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
			"Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
	}
	w.Add(core.WarningsPodTemplateSpec(p.Child("template"), &spec.Template)...)
}

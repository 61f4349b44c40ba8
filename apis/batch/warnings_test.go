// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestWarnings(t *testing.T) {
	const surprising = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
	const large = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
	apitest.Warnings(t, `{metadata: {name: j}, spec: {completionMode: Indexed, completions: 100000, parallelism: 100000}}`, WarningsJob,
		apitest.Warned{Name: "name", Change: `metadata: {name: a.b}`, Want: []string{surprising}},
		apitest.Warned{Name: "large", Change: `spec: {completions: 100001}`, Want: []string{"spec: " + large}},
		apitest.Warned{Name: "template", Change: `spec: {template: {spec: {terminationGracePeriodSeconds: -1}}}`, Want: []string{"spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"}})
	apitest.Warnings(t, `{metadata: {name: c}, spec: {schedule: '* * * * *'}}`, WarningsCronJob,
		apitest.Warned{Name: "large", Change: `spec: {jobTemplate: {spec: {completionMode: Indexed, completions: 100001, parallelism: 10001}}}`, Want: []string{"spec.jobTemplate.spec: " + large}})

	before := apitest.Object[batchv1.CronJob](t, `{metadata: {name: c}, spec: {schedule: 'TZ=UTC * * * * *'}}`)
	want := []string{"cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"}
	if got := WarningsCronJob(before, before); !slices.Equal(got, want) {
		t.Errorf("schedule with a zone: %q", got)
	}
}

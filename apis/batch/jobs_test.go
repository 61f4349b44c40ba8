// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in Jobs and CronJobs: the error is the one that kube-apiserver gives.

package batch

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestJob(t *testing.T) {
	kind := apitest.Kind[batchv1.Job]{
		SetDefaults:          SetDefaultsJob,
		PrepareForCreate:     PrepareJobForCreate,
		PrepareForUpdate:     PrepareJobForUpdate,
		Validate:             ValidateJob,
		ValidateUpdate:       ValidateJobUpdate,
		ValidateStatusUpdate: ValidateJobStatusUpdate,
	}
	const base = `
metadata: {name: once, namespace: default, uid: u, labels: {app: once}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}}}
`
	kind.Create(t, base,
		apitest.Case{Name: `pods that never end`, Change: `spec: {template: {spec: {restartPolicy: Always}}}`,
			Want: `spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`},
		apitest.Case{Name: `no containers`, Change: `spec: {template: {spec: {containers: null}}}`,
			Want: `spec.template.spec.containers: Required value`},
		apitest.Case{Name: `selector by hand`, Change: `spec: {selector: {matchLabels: {a: b}}}`,
			Want: "[spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kubernetes.io/controller-uid\":\"u\"}}: `selector` not auto-generated, spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"once\",\"controller-uid\":\"u\",\"job-name\":\"once\"}: `selector` does not match template `labels`]"},
		apitest.Case{Name: `label of another job`, Change: `spec: {template: {metadata: {labels: {batch.kubernetes.io/job-name: other}}}}`,
			Want: `spec.template.metadata.labels[batch.kubernetes.io/job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"other","controller-uid":"u","job-name":"once"}: must be 'once'`},
		apitest.Case{Name: `negative completions`, Change: `spec: {completions: -1}`,
			Want: `spec.completions: Invalid value: -1: must be greater than or equal to 0`},
		apitest.Case{Name: `index without completions`, Change: `spec: {completionMode: Indexed, parallelism: 1}`,
			Want: `spec.completions: Required value: when completion mode is Indexed`},
		apitest.Case{Name: `unknown mode`, Change: `spec: {completionMode: Random}`,
			Want: `spec.completionMode: Unsupported value: "Random": supported values: "NonIndexed", "Indexed"`},
		apitest.Case{Name: `limit an index without index`, Change: `spec: {backoffLimitPerIndex: 1}`,
			Want: `spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode`},
		apitest.Case{Name: `failure policy of another container`, Change: `spec: {podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {containerName: x, operator: In, values: [1]}}]}}`,
			Want: `spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template`},
		apitest.Case{Name: `failure policy for success`, Change: `spec: {podFailurePolicy: {rules: [{action: Ignore, onExitCodes: {operator: In, values: [0]}}]}}`,
			Want: `spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator`},
		apitest.Case{Name: `success policy out of range`, Change: `spec: {completionMode: Indexed, completions: 3, successPolicy: {rules: [{succeededIndexes: 1-5}]}}`,
			Want: `spec.successPolicy.rules[0].succeededIndexes: Invalid value: "1-5": error parsing succeededIndexes: too large index: "5"`},
		apitest.Case{Name: `managed by nobody`, Change: `spec: {managedBy: me}`,
			Want: `spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")`},
		apitest.Case{Name: `name too long for an index`, Change: "metadata: {name: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}\nspec: {completionMode: Indexed, completions: 3}",
			Want: `metadata.name: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": will not able to create pod with invalid DNS label: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-2`},
	)
}

func TestJobStored(t *testing.T) {
	kind := apitest.Kind[batchv1.Job]{
		SetDefaults:          SetDefaultsJob,
		PrepareForCreate:     PrepareJobForCreate,
		PrepareForUpdate:     PrepareJobForUpdate,
		Validate:             ValidateJob,
		ValidateUpdate:       ValidateJobUpdate,
		ValidateStatusUpdate: ValidateJobStatusUpdate,
	}
	const base = `
metadata: {name: once, namespace: default, uid: u}
spec: {suspend: true, completions: 2, parallelism: 2, completionMode: Indexed, selector: {matchLabels: {batch.kubernetes.io/controller-uid: u}}, template: {metadata: {labels: {batch.kubernetes.io/controller-uid: u, batch.kubernetes.io/job-name: once, controller-uid: u, job-name: once}}, spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}}}
status: {failed: 1, conditions: [{type: FailureTarget, status: "True"}]}
`
	kind.Create(t, base)
	kind.Update(t, base,
		apitest.Case{Name: `resumed`, Change: `spec: {suspend: false}`},
		apitest.Case{Name: `placed while suspended`, Change: `spec: {template: {spec: {nodeSelector: {zone: a}, tolerations: [{key: a, operator: Exists}]}}}`},
		apitest.Case{Name: `another mode`, Change: `spec: {completionMode: NonIndexed}`,
			Want: `spec.completionMode: Invalid value: "NonIndexed": field is immutable`},
		apitest.Case{Name: `more completions alone`, Change: `spec: {completions: 3}`,
			Want: `spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism`},
		apitest.Case{Name: `elastic`, Change: `spec: {completions: 3, parallelism: 3}`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `fewer failures`, Change: `status: {failed: 0}`,
			Want: `status.failed: Invalid value: 0: cannot decrease the failed counter`},
		apitest.Case{Name: `no longer failing`, Change: `status: {conditions: []}`,
			Want: `status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition`},
		apitest.Case{Name: `failed and complete`, Change: `status: {startTime: '2024-01-01T00:00:00Z', conditions: [{type: FailureTarget, status: 'True'}, {type: Complete, status: 'True'}]}`,
			Want: `[status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions, status.completionTime: Required value: completionTime is required for Complete jobs, status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition]`},
		apitest.Case{Name: `index out of range`, Change: `status: {completedIndexes: '5'}`,
			Want: `status.completedIndexes: Invalid value: "5": error parsing completedIndexes: too large index: "5"`},
		apitest.Case{Name: `more ready than active`, Change: `status: {ready: 1}`,
			Want: `status.ready: Invalid value: 1: cannot set more ready pods than active`},
		apitest.Case{Name: `finished with pods`, Change: `status: {active: 1, startTime: '2024-01-01T00:00:00Z', conditions: [{type: FailureTarget, status: 'True'}, {type: Failed, status: 'True'}]}`,
			Want: `status.active: Invalid value: 1: active>0 is invalid for finished job`},
	)
}

func TestCronJob(t *testing.T) {
	kind := apitest.Kind[batchv1.CronJob]{
		SetDefaults:          SetDefaultsCronJob,
		PrepareForCreate:     PrepareCronJobForCreate,
		PrepareForUpdate:     PrepareCronJobForUpdate,
		Validate:             ValidateCronJob,
		ValidateUpdate:       ValidateCronJobUpdate,
		ValidateStatusUpdate: ValidateCronJobStatusUpdate,
	}
	const base = `
metadata: {name: nightly, namespace: default}
spec: {schedule: "0 3 * * *", timeZone: Europe/Berlin, jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: c, image: busybox}]}}}}}
`
	kind.Create(t, base,
		apitest.Case{Name: `no schedule`, Change: `spec: {schedule: null}`,
			Want: `spec.schedule: Required value`},
		apitest.Case{Name: `four fields`, Change: `spec: {schedule: '0 3 * *'}`,
			Want: `spec.schedule: Invalid value: "0 3 * *": expected exactly 5 fields, found 4: [0 3 * *]`},
		apitest.Case{Name: `minute out of range`, Change: `spec: {schedule: '61 3 * * *'}`,
			Want: `spec.schedule: Invalid value: "61 3 * * *": end of range (61) above maximum (59): 61`},
		apitest.Case{Name: `zone in the schedule`, Change: `spec: {schedule: 'CRON_TZ=UTC 0 3 * * *'}`,
			Want: `spec.schedule: Invalid value: "CRON_TZ=UTC 0 3 * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead`},
		apitest.Case{Name: `zone that climbs`, Change: `spec: {timeZone: ../etc/passwd}`,
			Want: `spec.timeZone: Invalid value: "../etc/passwd": unknown time zone ../etc/passwd`},
		apitest.Case{Name: `local zone`, Change: `spec: {timeZone: Local}`,
			Want: `spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones`},
		apitest.Case{Name: `unknown concurrency`, Change: `spec: {concurrencyPolicy: Maybe}`,
			Want: `spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"`},
		apitest.Case{Name: `name too long`, Change: `metadata: {name: a123456789b123456789c123456789d123456789e123456789f12}`,
			Want: `metadata.name: Invalid value: "a123456789b123456789c123456789d123456789e123456789f12": must be no more than 52 characters`},
		apitest.Case{Name: `selector`, Change: `spec: {jobTemplate: {spec: {selector: {matchLabels: {a: b}}}}}`,
			Want: "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated"},
	)
	kind.Update(t, base,
		apitest.Case{Name: `suspended`, Change: `spec: {suspend: true}`},
		apitest.Case{Name: `negative history`, Change: `spec: {failedJobsHistoryLimit: -1}`,
			Want: `spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0`},
	)
}

// SPDX-License-Identifier: Apache-2.0

// This file checks what a Job gets by default and on create.

package batch

import (
	"testing"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestJobDefaults(t *testing.T) {
	const pod = `dnsPolicy: ClusterFirst, schedulerName: default-scheduler, enableServiceLinks: true, terminationGracePeriodSeconds: 30, securityContext: {}`
	const base = `{metadata: {name: a}, spec: {template: {metadata: {labels: {x: y}}, spec: {restartPolicy: Never, ` + pod + `}}}}`
	apitest.Effects(t, base, SetDefaultsJob,
		apitest.Effect{Name: "nothing said",
			Want: `{metadata: {labels: {x: y}}, spec: {completions: 1, parallelism: 1, backoffLimit: 6, completionMode: NonIndexed, suspend: false, podReplacementPolicy: TerminatingOrFailed, manualSelector: false}}`},
		apitest.Effect{Name: "parallelism alone is a work queue", Change: `{metadata: {labels: {a: b}}, spec: {parallelism: 3}}`,
			Want: `spec: {backoffLimit: 6, completionMode: NonIndexed, suspend: false, podReplacementPolicy: TerminatingOrFailed, manualSelector: false}`},
		apitest.Effect{Name: "limit for each index", Change: `{metadata: {labels: {a: b}}, spec: {completions: 2, parallelism: 2, completionMode: Indexed, backoffLimitPerIndex: 1}}`,
			Want: `spec: {backoffLimit: 2147483647, suspend: false, podReplacementPolicy: TerminatingOrFailed, manualSelector: false}`},
	)
}

func TestPrepareJobForCreate(t *testing.T) {
	const base = `{metadata: {name: a, uid: u}, spec: {template: {metadata: {labels: {x: y}}}}}`
	apitest.Effects(t, base, PrepareJobForCreate,
		apitest.Effect{Name: "labels and selector", Want: `
spec:
  template: {metadata: {labels: {controller-uid: u, job-name: a, batch.kubernetes.io/controller-uid: u, batch.kubernetes.io/job-name: a}}}
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: u}}
`},
		apitest.Effect{Name: "selected by hand", Change: `spec: {manualSelector: true, selector: {matchLabels: {x: y}}}`},
	)
}

func TestParseSchedule(t *testing.T) {
	for _, schedule := range []string{"*/5 * * * *", "@hourly", "@every 1h30m", "0 0 1 1 0"} {
		if _, err := ParseSchedule(schedule); err != nil {
			t.Errorf("ParseSchedule(%q): %v", schedule, err)
		}
	}
	for _, schedule := range []string{"", "* * * *", "61 * * * *", "@sometimes", "TZ=UTC"} {
		if _, err := ParseSchedule(schedule); err == nil {
			t.Errorf("ParseSchedule(%q) succeeded", schedule)
		}
	}
}

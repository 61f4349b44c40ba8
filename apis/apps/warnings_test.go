// SPDX-License-Identifier: Apache-2.0

package apps

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

const (
	surprising = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
	negative   = "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
)

func TestWarnings(t *testing.T) {
	const base = `{metadata: {name: w}, spec: {template: {spec: {containers: [{name: c, image: i}]}}}}`
	both := apitest.Warned{Name: "name and template", Change: `{metadata: {name: a.b}, spec: {template: {spec: {terminationGracePeriodSeconds: -1}}}}`, Want: []string{surprising, negative}}
	apitest.Warnings(t, base, WarningsDeployment, both)
	apitest.Warnings(t, base, WarningsReplicaSet, both)
	both.Want = both.Want[1:]
	apitest.Warnings(t, base, WarningsDaemonSet, both)
	apitest.Warnings(t, base, WarningsStatefulSet, both,
		apitest.Warned{Name: "claims and history", Change: `spec: {revisionHistoryLimit: -1, volumeClaimTemplates: [{spec: {resources: {requests: {storage: 100m}}}}]}`, Want: []string{
			`spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "100m" is invalid, must be an integer`,
			"spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"}})
}

// A template that has not changed has been spoken of.
func TestWarningsOfUpdates(t *testing.T) {
	before := apitest.Object[appsv1.Deployment](t, `{metadata: {name: a.b, generation: 1}, spec: {template: {spec: {terminationGracePeriodSeconds: -1}}}}`)
	now := before.DeepCopy()
	if got := WarningsDeployment(now, before); got != nil {
		t.Errorf("unchanged: %q", got)
	}
	now.Generation = 2
	if got := WarningsDeployment(now, before); len(got) != 1 || got[0] != negative {
		t.Errorf("changed: %q", got)
	}
}

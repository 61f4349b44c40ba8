// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in PodDisruptionBudgets: the error is the one that kube-apiserver gives.

package policy

import (
	"testing"

	policyv1 "k8s.io/api/policy/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestPodDisruptionBudget(t *testing.T) {
	kind := apitest.Kind[policyv1.PodDisruptionBudget]{
		Validate:             ValidatePodDisruptionBudget,
		ValidateUpdate:       ValidatePodDisruptionBudgetUpdate,
		ValidateStatusUpdate: ValidatePodDisruptionBudgetStatusUpdate,
	}
	const base = `
metadata: {name: p, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
`
	kind.Create(t, base,
		apitest.Case{Name: `more than all`, Change: `spec: {minAvailable: 101%}`,
			Want: `spec.minAvailable: Invalid value: "101%": must not be greater than 100%`},
		apitest.Case{Name: `negative`, Change: `spec: {minAvailable: -1}`,
			Want: `spec.minAvailable: Invalid value: -1: must be greater than or equal to 0`},
		apitest.Case{Name: `unknown policy`, Change: `spec: {unhealthyPodEvictionPolicy: Never}`,
			Want: `spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `bad selector`, Change: `spec: {selector: {matchLabels: {app: 'not valid'}}}`,
			Want: `spec.selector.matchLabels: Invalid value: "not valid": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `negative count`, Change: `status: {disruptionsAllowed: -1}`,
			Want: `status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0`},
	)
}

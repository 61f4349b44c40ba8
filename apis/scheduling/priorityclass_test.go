// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in PriorityClasses: the error is the one that kube-apiserver gives.

package scheduling

import (
	"testing"

	schedulingv1 "k8s.io/api/scheduling/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestPriorityClass(t *testing.T) {
	kind := apitest.Kind[schedulingv1.PriorityClass]{
		SetDefaults:    SetDefaultsPriorityClass,
		Validate:       ValidatePriorityClass,
		ValidateUpdate: ValidatePriorityClassUpdate,
	}
	const base = `
metadata: {name: high}
value: 1000
`
	kind.Create(t, base,
		apitest.Case{Name: `too high`, Change: `value: 2000000000`,
			Want: `value: Forbidden: maximum allowed value of a user defined priority is 1000000000`},
		apitest.Case{Name: `name of the system`, Change: `metadata: {name: system-mine}`,
			Want: `metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class`},
		apitest.Case{Name: `value of the system's class`, Change: `metadata: {name: system-node-critical}`,
			Want: `metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000`},
		apitest.Case{Name: `unknown policy`, Change: `preemptionPolicy: Always`,
			Want: `preemptionPolicy: Unsupported value: "Always": supported values: "PreemptLowerPriority", "Never"`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another value`, Change: `value: 5`,
			Want: `value: Forbidden: may not be changed in an update.`},
		apitest.Case{Name: `another policy`, Change: `preemptionPolicy: Never`,
			Want: `preemptionPolicy: Invalid value: "Never": field is immutable`},
		apitest.Case{Name: `default`, Change: `globalDefault: true`},
	)
}

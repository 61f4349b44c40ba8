// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in RuntimeClasses: the error is the one that kube-apiserver gives.

package node

import (
	"testing"

	nodev1 "k8s.io/api/node/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestRuntimeClass(t *testing.T) {
	kind := apitest.Kind[nodev1.RuntimeClass]{
		Validate:       ValidateRuntimeClass,
		ValidateUpdate: ValidateRuntimeClassUpdate,
	}
	const base = `
metadata: {name: kata}
handler: kata
`
	kind.Create(t, base,
		apitest.Case{Name: `no handler`, Change: `handler: null`,
			Want: `handler: Required value`},
		apitest.Case{Name: `bad handler`, Change: `handler: Kata`,
			Want: `handler: Invalid value: "Kata": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`},
		apitest.Case{Name: `overhead of an unknown resource`, Change: `overhead: {podFixed: {gpu: '1'}}`,
			Want: `[overhead.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified, overhead.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers]`},
		apitest.Case{Name: `toleration twice`, Change: `scheduling: {tolerations: [{key: a, operator: Exists}, {key: a, operator: Exists}]}`,
			Want: `scheduling.tolerations[1]: Duplicate value: {"Key":"a","Operator":"Exists","Value":"","Effect":"","TolerationSeconds":null}`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another handler`, Change: `handler: runc`,
			Want: `handler: Invalid value: "runc": field is immutable`},
	)
}

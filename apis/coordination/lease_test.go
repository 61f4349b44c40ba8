// SPDX-License-Identifier: Apache-2.0

// This file checks what clients get wrong in Leases: the error is the one that kube-apiserver gives.

package coordination

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestLease(t *testing.T) {
	kind := apitest.Kind[coordinationv1.Lease]{
		PrepareForCreate: PrepareLeaseForCreate,
		PrepareForUpdate: PrepareLeaseForUpdate,
		Validate:         ValidateLease,
		ValidateUpdate:   ValidateLeaseUpdate,
	}
	const base = `
metadata: {name: l, namespace: default}
spec: {holderIdentity: a, leaseDurationSeconds: 15}
`
	kind.Create(t, base,
		apitest.Case{Name: `no time`, Change: `spec: {leaseDurationSeconds: 0}`,
			Want: `spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0`},
		apitest.Case{Name: `negative transitions`, Change: `spec: {leaseTransitions: -1}`,
			Want: `spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another holder`, Change: `spec: {holderIdentity: b}`},
		apitest.Case{Name: `no time`, Change: `spec: {leaseDurationSeconds: 0}`,
			Want: `spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0`},
	)
}

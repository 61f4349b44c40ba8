// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in PersistentVolumes and claims: the error is the one that kube-apiserver gives.

package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestPersistentVolume(t *testing.T) {
	kind := apitest.Kind[corev1.PersistentVolume]{
		SetDefaults:          SetDefaultsPersistentVolume,
		PrepareForCreate:     PreparePersistentVolumeForCreate,
		Validate:             ValidatePersistentVolume,
		ValidateUpdate:       ValidatePersistentVolumeUpdate,
		ValidateStatusUpdate: ValidatePersistentVolumeStatusUpdate,
	}
	const base = `
metadata: {name: pv}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /data}}
`
	kind.Create(t, base,
		apitest.Case{Name: `no capacity`, Change: `spec: {capacity: null}`,
			Want: `[spec.capacity: Required value, spec.capacity: Unsupported value: null: supported values: "storage"]`},
		apitest.Case{Name: `no access modes`, Change: `spec: {accessModes: []}`,
			Want: `spec.accessModes: Required value`},
		apitest.Case{Name: `unknown access mode`, Change: `spec: {accessModes: [RWO]}`,
			Want: `spec.accessModes: Unsupported value: "RWO": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`},
		apitest.Case{Name: `exclusive and shared`, Change: `spec: {accessModes: [ReadWriteOncePod, ReadWriteMany]}`,
			Want: `spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes`},
		apitest.Case{Name: `no source`, Change: `spec: {hostPath: null}`,
			Want: `spec: Required value: must specify a volume type`},
		apitest.Case{Name: `two sources`, Change: `spec: {nfs: {server: a, path: /b}}`,
			Want: `spec.nfs: Forbidden: may not specify more than 1 volume type`},
		apitest.Case{Name: `local without affinity`, Change: `spec: {hostPath: null, local: {path: /d}}`,
			Want: `spec.nodeAffinity: Required value: Local volume requires node affinity`},
		apitest.Case{Name: `unknown reclaim policy`, Change: `spec: {persistentVolumeReclaimPolicy: Keep}`,
			Want: `spec.persistentVolumeReclaimPolicy: Unsupported value: "Keep": supported values: "Delete", "Recycle", "Retain"`},
		apitest.Case{Name: `recycling the root`, Change: `spec: {hostPath: {path: /}, persistentVolumeReclaimPolicy: Recycle}`,
			Want: `spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'`},
		apitest.Case{Name: `bad class`, Change: `spec: {storageClassName: Fast_1}`,
			Want: "spec.storageClassName: Invalid value: \"Fast_1\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"},
		apitest.Case{Name: `CSI without handle`, Change: `spec: {hostPath: null, csi: {driver: d.io}}`,
			Want: `spec.csi.volumeHandle: Required value`},
		apitest.Case{Name: `zero capacity`, Change: `spec: {capacity: {storage: '0'}}`,
			Want: `spec.capacity[storage]: Invalid value: "0": must be greater than zero`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another path`, Change: `spec: {hostPath: {path: /other}}`,
			Want: `spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation…`},
		apitest.Case{Name: `another mode`, Change: `spec: {volumeMode: Block}`,
			Want: `volumeMode: Invalid value: "Block": field is immutable`},
		apitest.Case{Name: `claimed`, Change: `spec: {claimRef: {name: a, namespace: b}}`},
		apitest.Case{Name: `larger`, Change: `spec: {capacity: {storage: 2Gi}}`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `released`, Change: `status: {phase: Released}`},
	)
}

func TestPersistentVolumeClaim(t *testing.T) {
	kind := apitest.Kind[corev1.PersistentVolumeClaim]{
		SetDefaults:          SetDefaultsPersistentVolumeClaim,
		PrepareForCreate:     PreparePersistentVolumeClaimForCreate,
		PrepareForUpdate:     PreparePersistentVolumeClaimForUpdate,
		Validate:             ValidatePersistentVolumeClaim,
		ValidateUpdate:       ValidatePersistentVolumeClaimUpdate,
		ValidateStatusUpdate: ValidatePersistentVolumeClaimStatusUpdate,
	}
	const base = `
metadata: {name: data, namespace: default}
spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 2Gi}}}
status: {phase: Bound, capacity: {storage: 1Gi}}
`
	kind.Create(t, base,
		apitest.Case{Name: `no access modes`, Change: `spec: {accessModes: []}`,
			Want: `spec.accessModes: Required value: at least 1 access mode is required`},
		apitest.Case{Name: `no size`, Change: `spec: {resources: null}`,
			Want: `spec.resources[storage]: Required value`},
		apitest.Case{Name: `zero size`, Change: `spec: {resources: {requests: {storage: '0'}}}`,
			Want: `spec.resources[storage]: Invalid value: "0": must be greater than zero`},
		apitest.Case{Name: `unknown mode`, Change: `spec: {volumeMode: Tape}`,
			Want: `spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"`},
		apitest.Case{Name: `sources that disagree`, Change: `spec: {dataSource: {kind: PersistentVolumeClaim, name: a}, dataSourceRef: {kind: PersistentVolumeClaim, name: b}}`,
			Want: `spec: Invalid value: {}: must match dataSourceRef`},
		apitest.Case{Name: `source of the core group that is no claim`, Change: `spec: {dataSourceRef: {kind: Pod, name: a}}`,
			Want: `[spec.dataSource: Invalid value: "Pod": must be 'PersistentVolumeClaim' when referencing the default apiGroup, spec.dataSourceRef: Invalid value: "Pod": must be 'PersistentVolumeClaim' when referencing the default apiGroup]`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `grows`, Change: `spec: {resources: {requests: {storage: 3Gi}}}`},
		apitest.Case{Name: `shrinks below what it has`, Change: `spec: {resources: {requests: {storage: 1Gi}}}`,
			Want: `spec.resources.requests.storage: Forbidden: field can not be less than status.capacity`},
		apitest.Case{Name: `another class`, Change: `spec: {storageClassName: slow}`,
			Want: `spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims…`},
		apitest.Case{Name: `bound to a volume`, Change: `spec: {volumeName: pv}`},
	)
	// Groups of sources were not looked at once, so a claim that names one may keep what is no group.
	source := apitest.Object[corev1.PersistentVolumeClaim](t, base, `{metadata: {resourceVersion: "1"}, spec: {dataSourceRef: {apiGroup: Not a group, kind: Tape, name: a}}}`)
	if errs := ValidatePersistentVolumeClaimUpdate(source, source); len(errs) > 0 {
		t.Errorf("a claim with an old group cannot be updated: %v", errs)
	}
	if errs := ValidatePersistentVolumeClaim(source); len(errs) != 1 || errs[0].Field != "spec.dataSourceRef.apiGroup" {
		t.Errorf("a new claim with what is no group: %v", errs)
	}
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `unknown resize state`, Change: `status: {allocatedResourceStatuses: {storage: Odd}}`,
			Want: `status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"`},
	)
}

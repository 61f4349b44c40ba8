// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in storage classes and CSI kinds: the error is the one that kube-apiserver gives.

package storage

import (
	"testing"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestStorageClass(t *testing.T) {
	kind := apitest.Kind[storagev1.StorageClass]{
		SetDefaults:    SetDefaultsStorageClass,
		Validate:       ValidateStorageClass,
		ValidateUpdate: ValidateStorageClassUpdate,
	}
	const base = `
metadata: {name: fast}
provisioner: a.io/b
`
	kind.Create(t, base,
		apitest.Case{Name: `no provisioner`, Change: `provisioner: null`,
			Want: `provisioner: Required value`},
		apitest.Case{Name: `recycling`, Change: `reclaimPolicy: Recycle`,
			Want: `reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`},
		apitest.Case{Name: `unknown binding`, Change: `volumeBindingMode: Later`,
			Want: `volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"`},
		apitest.Case{Name: `topology twice`, Change: `allowedTopologies: [{matchLabelExpressions: [{key: zone, values: [a]}]}, {matchLabelExpressions: [{key: zone, values: [a]}]}]`,
			Want: `allowedTopologies[1].matchLabelExpressions: Duplicate value: ""`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another provisioner`, Change: `provisioner: a.io/c`,
			Want: `provisioner: Invalid value: "a.io/c": field is immutable`},
		apitest.Case{Name: `other parameters`, Change: `parameters: {a: b}`,
			Want: `parameters: Invalid value: {"a":"b"}: field is immutable`},
		apitest.Case{Name: `expansion`, Change: `allowVolumeExpansion: true`},
	)
}

func TestCSIDriver(t *testing.T) {
	kind := apitest.Kind[storagev1.CSIDriver]{
		SetDefaults:    SetDefaultsCSIDriver,
		Validate:       ValidateCSIDriver,
		ValidateUpdate: ValidateCSIDriverUpdate,
	}
	const base = `
metadata: {name: d.io}
spec: {}
`
	kind.Create(t, base,
		apitest.Case{Name: `unknown lifecycle`, Change: `spec: {volumeLifecycleModes: [Forever]}`,
			Want: `spec.volumeLifecycleModes: Unsupported value: "Forever": supported values: "Persistent", "Ephemeral"`},
		apitest.Case{Name: `audience twice`, Change: `spec: {tokenRequests: [{audience: a}, {audience: a}]}`,
			Want: `spec.tokenRequests[1].audience: Duplicate value: "a"`},
		apitest.Case{Name: `token that ends too soon`, Change: `spec: {tokenRequests: [{audience: a, expirationSeconds: 60}]}`,
			Want: `spec.tokenRequests[0].expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `attachment no longer needed`, Change: `spec: {attachRequired: false}`,
			Want: `spec.attachedRequired: Invalid value: false: field is immutable`},
	)
}

func TestCSINode(t *testing.T) {
	kind := apitest.Kind[storagev1.CSINode]{
		Validate:       ValidateCSINode,
		ValidateUpdate: ValidateCSINodeUpdate,
	}
	const base = `
metadata: {name: n}
spec: {drivers: [{name: d.io, nodeID: x, topologyKeys: [a.io/b]}]}
`
	kind.Create(t, base,
		apitest.Case{Name: `driver twice`, Change: `spec: {drivers: [{name: d.io, nodeID: x, topologyKeys: null}, {name: d.io, nodeID: x, topologyKeys: null}]}`,
			Want: `spec.drivers[1].name: Duplicate value: "d.io"`},
		apitest.Case{Name: `no node ID`, Change: `spec: {drivers: [{name: d.io, nodeID: '', topologyKeys: null}]}`,
			Want: `spec.drivers[0].nodeID: Required value`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `more volumes`, Change: `spec: {drivers: [{name: d.io, nodeID: x, topologyKeys: [a.io/b], allocatable: {count: 5}}]}`},
	)
}

func TestVolumeAttachment(t *testing.T) {
	kind := apitest.Kind[storagev1.VolumeAttachment]{
		SetDefaults:          SetDefaultsVolumeAttachment,
		Validate:             ValidateVolumeAttachment,
		ValidateUpdate:       ValidateVolumeAttachmentUpdate,
		ValidateStatusUpdate: ValidateVolumeAttachmentStatusUpdate,
	}
	const base = `
metadata: {name: va}
spec: {attacher: d.io, nodeName: n, source: {persistentVolumeName: pv}}
`
	kind.Create(t, base,
		apitest.Case{Name: `no source`, Change: `spec: {source: {persistentVolumeName: null}}`,
			Want: `spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName`},
		apitest.Case{Name: `no attacher`, Change: `spec: {attacher: ''}`,
			Want: `spec.attacher: Required value`},
		apitest.Case{Name: `inline volume of another kind`, Change: `spec: {source: {persistentVolumeName: null, inlineVolumeSpec: {accessModes: [ReadWriteOnce], hostPath: {path: /a}}}}`,
			Want: `spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes`},
	)
}

func TestCSIStorageCapacity(t *testing.T) {
	kind := apitest.Kind[storagev1.CSIStorageCapacity]{
		Validate:       ValidateCSIStorageCapacity,
		ValidateUpdate: ValidateCSIStorageCapacityUpdate,
	}
	const base = `
metadata: {name: c, namespace: default}
storageClassName: fast
`
	kind.Create(t, base,
		apitest.Case{Name: `negative capacity`, Change: `capacity: '-1'`,
			Want: `capacity: Invalid value: "-1": must be greater than or equal to 0`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another class`, Change: `storageClassName: slow`,
			Want: `storageClassName: Invalid value: "slow": field is immutable`},
	)
}

func TestVolumeAttributesClass(t *testing.T) {
	kind := apitest.Kind[storagev1.VolumeAttributesClass]{
		Validate:       ValidateVolumeAttributesClass,
		ValidateUpdate: ValidateVolumeAttributesClassUpdate,
	}
	const base = `
metadata: {name: gold}
driverName: d.io
parameters: {iops: "5"}
`
	kind.Create(t, base,
		apitest.Case{Name: `no parameters`, Change: `parameters: null`,
			Want: `parameters: Required value: must contain at least one key/value pair`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `other parameters`, Change: `parameters: {iops: '6'}`,
			Want: `parameters: Forbidden: updates to parameters are forbidden.`},
	)
}

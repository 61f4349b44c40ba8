// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in workloads: the error is the one that kube-apiserver gives.

package apps

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestDeployment(t *testing.T) {
	kind := apitest.Kind[appsv1.Deployment]{
		SetDefaults:          SetDefaultsDeployment,
		PrepareForCreate:     PrepareDeploymentForCreate,
		PrepareForUpdate:     PrepareDeploymentForUpdate,
		Validate:             ValidateDeployment,
		ValidateUpdate:       ValidateDeploymentUpdate,
		ValidateStatusUpdate: ValidateDeploymentStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: nginx}]}}}
status: {replicas: 1, collisionCount: 2}
`
	kind.Create(t, base,
		apitest.Case{Name: `no selector`, Change: `spec: {selector: null}`,
			Want: "[spec.selector: Required value, spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`]"},
		apitest.Case{Name: `empty selector`, Change: `spec: {selector: {matchLabels: null}}`,
			Want: `spec.selector: Invalid value: {}: empty selector is invalid for deployment`},
		apitest.Case{Name: `selector of others`, Change: `spec: {selector: {matchLabels: {app: db}}}`,
			Want: "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"},
		apitest.Case{Name: `no containers`, Change: `spec: {template: {spec: {containers: null}}}`,
			Want: `spec.template.spec.containers: Required value`},
		apitest.Case{Name: `pods that end`, Change: `spec: {template: {spec: {restartPolicy: OnFailure}}}`,
			Want: `spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always"`},
		apitest.Case{Name: `negative replicas`, Change: `spec: {replicas: -1}`,
			Want: `spec.replicas: Invalid value: -1: must be greater than or equal to 0`},
		apitest.Case{Name: `unknown strategy`, Change: `spec: {strategy: {type: BlueGreen}}`,
			Want: `spec.strategy: Unsupported value: {"Type":"BlueGreen","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate"`},
		apitest.Case{Name: `recreate with rolling update`, Change: `spec: {strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}}`,
			Want: "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"},
		apitest.Case{Name: `update that cannot move`, Change: `spec: {strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}}`,
			Want: "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"},
		apitest.Case{Name: `more than all unavailable`, Change: `spec: {strategy: {rollingUpdate: {maxUnavailable: 101%}}}`,
			Want: `spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`},
		apitest.Case{Name: `surge that is no number`, Change: `spec: {strategy: {rollingUpdate: {maxSurge: some}}}`,
			Want: `spec.strategy.rollingUpdate.maxSurge: Invalid value: "some": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`},
		apitest.Case{Name: `deadline before ready`, Change: `spec: {minReadySeconds: 600}`,
			Want: `spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `scaled`, Change: `spec: {replicas: 5}`},
		apitest.Case{Name: `another selector`, Change: `spec: {selector: {matchLabels: {tier: web}}, template: {metadata: {labels: {tier: web}}}}`,
			Want: `spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"web"}}: field is immutable`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `more ready than there are`, Change: `status: {readyReplicas: 2}`,
			Want: `status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas`},
		apitest.Case{Name: `collisions forgotten`, Change: `status: {collisionCount: 1}`,
			Want: `status.collisionCount: Invalid value: 1: cannot be decremented`},
	)
}

func TestReplicaSet(t *testing.T) {
	kind := apitest.Kind[appsv1.ReplicaSet]{
		SetDefaults:          SetDefaultsReplicaSet,
		PrepareForCreate:     PrepareReplicaSetForCreate,
		PrepareForUpdate:     PrepareReplicaSetForUpdate,
		Validate:             ValidateReplicaSet,
		ValidateUpdate:       ValidateReplicaSetUpdate,
		ValidateStatusUpdate: ValidateReplicaSetStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: nginx}]}}}
status: {replicas: 1}
`
	kind.Create(t, base,
		apitest.Case{Name: `empty selector`, Change: `spec: {selector: {matchLabels: null}}`,
			Want: `spec.selector: Invalid value: {}: empty selector is invalid for deployment`},
		apitest.Case{Name: `deadline`, Change: `spec: {template: {spec: {activeDeadlineSeconds: 5}}}`,
			Want: `spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another selector`, Change: `spec: {selector: {matchLabels: {tier: web}}, template: {metadata: {labels: {tier: web}}}}`,
			Want: `spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"web"}}: field is immutable`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `more available than ready`, Change: `status: {availableReplicas: 1}`,
			Want: `status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas`},
	)
}

func TestStatefulSet(t *testing.T) {
	kind := apitest.Kind[appsv1.StatefulSet]{
		SetDefaults:          SetDefaultsStatefulSet,
		PrepareForCreate:     PrepareStatefulSetForCreate,
		PrepareForUpdate:     PrepareStatefulSetForUpdate,
		Validate:             ValidateStatefulSet,
		ValidateUpdate:       ValidateStatefulSetUpdate,
		ValidateStatusUpdate: ValidateStatefulSetStatusUpdate,
	}
	const base = `
metadata: {name: db, namespace: default}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: redis, volumeMounts: [{name: data, mountPath: /data}]}]}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
status: {replicas: 1}
`
	kind.Create(t, base,
		apitest.Case{Name: `bad name`, Change: `metadata: {name: db.1}`,
			Want: `metadata.name: Invalid value: "db.1": must not contain dots`},
		apitest.Case{Name: `mount of no claim`, Change: `spec: {volumeClaimTemplates: []}`,
			Want: `spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"`},
		apitest.Case{Name: `claim without size`, Change: `spec: {volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce]}}]}`,
			Want: `spec.volumeClaimTemplates[0].spec.resources[storage]: Required value`},
		apitest.Case{Name: `unknown management`, Change: `spec: {podManagementPolicy: Random}`,
			Want: `spec.podManagementPolicy: Invalid value: "Random": must be 'OrderedReady' or 'Parallel'`},
		apitest.Case{Name: `partition on delete`, Change: `spec: {updateStrategy: {type: OnDelete, rollingUpdate: {partition: 1}}}`,
			Want: `spec.updateStrategy.rollingUpdate: Invalid value: {"Partition":1,"MaxUnavailable":null}: only allowed for updateStrategy 'RollingUpdate'`},
		apitest.Case{Name: `unknown retention`, Change: `spec: {persistentVolumeClaimRetentionPolicy: {whenDeleted: Keep}}`,
			Want: `spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Keep": supported values: "Retain", "Delete"`},
		apitest.Case{Name: `bad service name`, Change: `spec: {serviceName: Db}`,
			Want: `spec.serviceName: Invalid value: "Db": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `scaled`, Change: `spec: {replicas: 3}`},
		apitest.Case{Name: `another service`, Change: `spec: {serviceName: other}`,
			Want: `spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden`},
		apitest.Case{Name: `larger claims`, Change: `spec: {volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}}]}`,
			Want: `spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `more current than there are`, Change: `status: {currentReplicas: 2}`,
			Want: `status.currentReplicas: Invalid value: 2: cannot be greater than status.replicas`},
	)
}

func TestDaemonSet(t *testing.T) {
	kind := apitest.Kind[appsv1.DaemonSet]{
		SetDefaults:          SetDefaultsDaemonSet,
		PrepareForCreate:     PrepareDaemonSetForCreate,
		PrepareForUpdate:     PrepareDaemonSetForUpdate,
		Validate:             ValidateDaemonSet,
		ValidateUpdate:       ValidateDaemonSetUpdate,
		ValidateStatusUpdate: ValidateDaemonSetStatusUpdate,
	}
	const base = `
metadata: {name: agent, namespace: default}
spec: {selector: {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: agent, image: nginx}]}}}
`
	kind.Create(t, base,
		apitest.Case{Name: `empty selector`, Change: `spec: {selector: {matchLabels: null}}`,
			Want: `spec.selector: Invalid value: {}: empty selector is invalid for daemonset`},
		apitest.Case{Name: `surge beside unavailable`, Change: `spec: {updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}}`,
			Want: `spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero`},
		apitest.Case{Name: `update that cannot move`, Change: `spec: {updateStrategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}}`,
			Want: `spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0`},
		apitest.Case{Name: `pods that end`, Change: `spec: {template: {spec: {restartPolicy: Never}}}`,
			Want: `spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another image`, Change: `spec: {template: {spec: {containers: [{name: agent, image: redis}]}}}`},
		apitest.Case{Name: `another selector`, Change: `spec: {selector: {matchLabels: {tier: web}}, template: {metadata: {labels: {tier: web}}}}`,
			Want: `spec.selector: Invalid value: {"matchLabels":{"app":"agent","tier":"web"}}: field is immutable`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `negative count`, Change: `status: {numberReady: -1}`,
			Want: `status.numberReady: Invalid value: -1: must be greater than or equal to 0`},
	)
}

func TestControllerRevision(t *testing.T) {
	kind := apitest.Kind[appsv1.ControllerRevision]{
		Validate:       ValidateControllerRevision,
		ValidateUpdate: ValidateControllerRevisionUpdate,
	}
	const base = `
metadata: {name: db-1, namespace: default}
revision: 1
data: {spec: {}}
`
	kind.Create(t, base,
		apitest.Case{Name: `no data`, Change: `data: null`,
			Want: `data: Required value: data is mandatory`},
		apitest.Case{Name: `data that is no object`, Change: `data: [1]`,
			Want: `data: Required value: data must be a valid JSON object`},
		apitest.Case{Name: `negative revision`, Change: `revision: -1`,
			Want: `revision: Invalid value: -1: must be greater than or equal to 0`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another revision`, Change: `revision: 2`},
	)
}

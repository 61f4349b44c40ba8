// SPDX-License-Identifier: Apache-2.0

// This file checks what workloads get by default, and what writers cannot decide.

package apps

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

// template is a pod template for which nothing is left to default.
const template = `template: {metadata: {labels: {x: y}}, spec: {restartPolicy: Always, dnsPolicy: ClusterFirst, schedulerName: default-scheduler, enableServiceLinks: true, terminationGracePeriodSeconds: 30, securityContext: {}}}`

func TestDeploymentDefaults(t *testing.T) {
	apitest.Effects(t, `{metadata: {name: a}, spec: {`+template+`}}`, SetDefaultsDeployment,
		apitest.Effect{Name: "nothing said",
			Want: `spec: {replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600, strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%}}}`},
		apitest.Effect{Name: "recreate", Change: `spec: {strategy: {type: Recreate}}`,
			Want: `spec: {replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600}`},
	)
}

func TestStatefulSetDefaults(t *testing.T) {
	apitest.Effects(t, `{metadata: {name: a}, spec: {`+template+`}}`, SetDefaultsStatefulSet,
		apitest.Effect{Name: "nothing said",
			Want: `spec: {replicas: 1, revisionHistoryLimit: 10, podManagementPolicy: OrderedReady, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}, persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}}`},
	)
	apitest.Effects(t, `{metadata: {name: a}, spec: {`+template+`}}`, PrepareStatefulSetForCreate,
		apitest.Effect{Name: "limit of the unavailable", Change: `spec: {updateStrategy: {rollingUpdate: {partition: 1, maxUnavailable: 2}}}`,
			Want: `spec: {updateStrategy: {rollingUpdate: {maxUnavailable: null}}}`},
	)
}

func TestDaemonSetGeneration(t *testing.T) {
	const base = `{metadata: {name: a, annotations: {deprecated.daemonset.template.generation: '4'}}, spec: {` + template + `}}`
	prepare := func(ds *appsv1.DaemonSet) { PrepareDaemonSetForUpdate(ds, apitest.Object[appsv1.DaemonSet](t, base)) }
	apitest.Effects(t, base, prepare,
		apitest.Effect{Name: "same template", Change: `spec: {minReadySeconds: 4}`},
		apitest.Effect{Name: "other template", Change: `spec: {template: {metadata: {labels: {x: z}}}}`,
			Want: `metadata: {annotations: {deprecated.daemonset.template.generation: '5'}}`},
		apitest.Effect{Name: "writers cannot set it", Change: `metadata: {annotations: {deprecated.daemonset.template.generation: '9'}}`,
			Want: `metadata: {annotations: {deprecated.daemonset.template.generation: '4'}}`},
	)
	apitest.Effects(t, `{metadata: {name: a}}`, PrepareDaemonSetForCreate,
		apitest.Effect{Name: "create", Want: `metadata: {annotations: {deprecated.daemonset.template.generation: '1'}}`})
}

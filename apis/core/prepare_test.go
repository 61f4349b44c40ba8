// SPDX-License-Identifier: Apache-2.0

// This file checks what kinds other than Pods get by default, and what writers cannot decide.

package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestServiceDefaults(t *testing.T) {
	apitest.Effects(t, `
metadata: {name: web}
spec: {type: ClusterIP, sessionAffinity: None, ports: [{port: 80, targetPort: 8080, protocol: TCP}]}
`, SetDefaultsService,
		apitest.Effect{Name: "nothing said", Change: `spec: {type: null, sessionAffinity: null, ports: [{port: 80}]}`,
			Want: `spec: {type: ClusterIP, sessionAffinity: None, internalTrafficPolicy: Cluster, ports: [{port: 80, targetPort: 80, protocol: TCP}]}`},
		apitest.Effect{Name: "affinity", Change: `spec: {sessionAffinity: ClientIP}`,
			Want: `spec: {internalTrafficPolicy: Cluster, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}}`},
		apitest.Effect{Name: "node port", Change: `spec: {type: NodePort}`,
			Want: `spec: {internalTrafficPolicy: Cluster, externalTrafficPolicy: Cluster}`},
		apitest.Effect{Name: "load balancer", Change: `spec: {type: LoadBalancer}`,
			Want: `spec: {internalTrafficPolicy: Cluster, externalTrafficPolicy: Cluster, allocateLoadBalancerNodePorts: true}`},
		apitest.Effect{Name: "external name", Change: `spec: {type: ExternalName, externalName: a.example}`},
	)
}

func TestPrepareServiceForUpdate(t *testing.T) {
	const base = `
metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1]
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  allocateLoadBalancerNodePorts: true
  externalTrafficPolicy: Local
  internalTrafficPolicy: Cluster
  healthCheckNodePort: 30001
  ports: [{port: 80, targetPort: 80, nodePort: 30000}]
status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}
`
	prepare := func(service *corev1.Service) {
		PrepareServiceForUpdate(service, apitest.Object[corev1.Service](t, base))
	}
	apitest.Effects(t, base, prepare,
		apitest.Effect{Name: "same"},
		apitest.Effect{Name: "to cluster IP", Change: `spec: {type: ClusterIP}`, Want: `
spec: {allocateLoadBalancerNodePorts: null, externalTrafficPolicy: null, healthCheckNodePort: null, ports: [{port: 80, targetPort: 80}]}
status: {loadBalancer: {ingress: null}}`},
		apitest.Effect{Name: "to node port", Change: `spec: {type: NodePort}`, Want: `
spec: {allocateLoadBalancerNodePorts: null, healthCheckNodePort: null}
status: {loadBalancer: {ingress: null}}`},
		apitest.Effect{Name: "to external name", Change: `spec: {type: ExternalName, externalName: a.example}`, Want: `
spec: {clusterIP: null, clusterIPs: null, ipFamilies: null, ipFamilyPolicy: null, allocateLoadBalancerNodePorts: null, externalTrafficPolicy: null, internalTrafficPolicy: null, healthCheckNodePort: null, ports: [{port: 80, targetPort: 80}]}
status: {loadBalancer: {ingress: null}}`},
		apitest.Effect{Name: "node port that the writer set", Change: `spec: {type: ClusterIP, ports: [{port: 80, targetPort: 80, nodePort: 31111}]}`, Want: `
spec: {allocateLoadBalancerNodePorts: null, externalTrafficPolicy: null, healthCheckNodePort: null}
status: {loadBalancer: {ingress: null}}`},
	)
}

func TestPrepareNamespace(t *testing.T) {
	const base = `
metadata: {name: a}
spec: {finalizers: [kubernetes]}
status: {phase: Active}
`
	t.Run("create", func(t *testing.T) {
		apitest.Effects(t, base, PrepareNamespaceForCreate,
			apitest.Effect{Name: "empty", Change: `{spec: null, status: null}`,
				Want: `{metadata: {labels: {kubernetes.io/metadata.name: a}}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}`},
			apitest.Effect{Name: "wrong label", Change: `metadata: {labels: {kubernetes.io/metadata.name: b}}`,
				Want: `metadata: {labels: {kubernetes.io/metadata.name: a}}`},
			apitest.Effect{Name: "other finalizer", Change: `spec: {finalizers: [example.com/x]}`,
				Want: `{metadata: {labels: {kubernetes.io/metadata.name: a}}, spec: {finalizers: [example.com/x, kubernetes]}}`},
		)
	})
	t.Run("update", func(t *testing.T) {
		prepare := func(ns *corev1.Namespace) {
			PrepareNamespaceForUpdate(ns, apitest.Object[corev1.Namespace](t, base))
		}
		apitest.Effects(t, base, prepare,
			apitest.Effect{Name: "finalizers and status stay", Change: `{spec: null, status: {phase: Terminating}}`,
				Want: `{metadata: {labels: {kubernetes.io/metadata.name: a}}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}`},
		)
	})
	apitest.Kind[corev1.Namespace]{ValidateUpdate: ValidateNamespaceFinalizeUpdate}.Update(t, base,
		apitest.Case{Name: "none left", Change: `spec: {finalizers: []}`},
		apitest.Case{Name: "no domain", Change: `spec: {finalizers: [mine]}`,
			Want: `spec.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`},
	)
}

func TestSecretDefaults(t *testing.T) {
	apitest.Effects(t, `metadata: {name: a}`, SetDefaultsSecret,
		apitest.Effect{Name: "type", Want: `type: Opaque`},
		apitest.Effect{Name: "strings go over data", Change: `{type: x, data: {a: b2xk, b: b2xk}, stringData: {a: new, c: new}}`,
			Want: `{data: {a: bmV3, b: b2xk, c: bmV3}, stringData: null}`},
	)
}

func TestPreparePersistentVolumeClaimForCreate(t *testing.T) {
	apitest.Effects(t, `{metadata: {name: a}, status: {phase: Bound}}`, PreparePersistentVolumeClaimForCreate,
		apitest.Effect{Name: "pending", Want: `status: {phase: Pending}`},
		apitest.Effect{Name: "claim as source", Change: `spec: {dataSource: {kind: PersistentVolumeClaim, name: b}}`,
			Want: `{spec: {dataSourceRef: {kind: PersistentVolumeClaim, name: b}}, status: {phase: Pending}}`},
		apitest.Effect{Name: "reference", Change: `spec: {dataSourceRef: {apiGroup: example.com, kind: Image, name: b}}`,
			Want: `{spec: {dataSource: {apiGroup: example.com, kind: Image, name: b}}, status: {phase: Pending}}`},
		apitest.Effect{Name: "source that is neither claim nor snapshot", Change: `spec: {dataSource: {apiGroup: example.com, kind: Image, name: b}}`,
			Want: `{spec: {dataSource: null}, status: {phase: Pending}}`},
		apitest.Effect{Name: "source in another namespace", Change: `spec: {dataSourceRef: {kind: PersistentVolumeClaim, name: b, namespace: c}}`,
			Want: `{spec: {dataSourceRef: null}, status: {phase: Pending}}`},
	)
}

func TestBinding(t *testing.T) {
	apitest.Kind[corev1.Binding]{Validate: ValidateBinding}.Create(t, `{metadata: {name: a}, target: {kind: Node, name: n}}`,
		apitest.Case{Name: "no name", Change: `target: {name: null}`, Want: `target.name: Required value`},
		apitest.Case{Name: "not a node", Change: `target: {kind: Pod}`,
			Want: `target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"`},
	)
}

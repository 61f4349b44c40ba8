// SPDX-License-Identifier: Apache-2.0

package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestPodWarnings(t *testing.T) {
	apitest.Warnings(t, `
metadata: {name: p}
spec: {containers: [{name: c, image: i}]}
`, WarningsPod,
		apitest.Warned{Name: "name", Change: `metadata: {name: a.b}`, Want: []string{"metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"}},
		apitest.Warned{Name: "labels of nodes", Change: `spec: {nodeSelector: {beta.kubernetes.io/os: linux}, topologySpreadConstraints: [{topologyKey: failure-domain.beta.kubernetes.io/zone, labelSelector: {}}],
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: node-role.kubernetes.io/master}]}]},
  preferredDuringSchedulingIgnoredDuringExecution: [{preference: {matchExpressions: [{key: k, values: ['-']}]}}]}}}`, Want: []string{
			`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`,
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: node-role.kubernetes.io/master is use "node-role.kubernetes.io/control-plane" instead`,
			`spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: - is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`,
			`spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
		}},
		apitest.Warned{Name: "selectors of none", Change: `spec: {topologySpreadConstraints: [{topologyKey: k}], affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: k}]},
  podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{podAffinityTerm: {topologyKey: k}}]}}}`, Want: []string{
			`spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod`,
			`spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod`,
			`spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod`,
		}},
		apitest.Warned{Name: "annotations", Change: `metadata: {annotations: {scheduler.alpha.kubernetes.io/critical-pod: "", seccomp.security.alpha.kubernetes.io/pod: x, container.seccomp.security.alpha.kubernetes.io/c: x, container.apparmor.security.beta.kubernetes.io/c: unconfined}}`, Want: []string{
			`metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead`,
			`metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead`,
			`metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the "seccompProfile" field instead`,
			`metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead`,
		}},
		apitest.Warned{Name: "AppArmor annotation that says what the pod does", Change: `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: localhost/x}}, spec: {securityContext: {appArmorProfile: {type: Localhost, localhostProfile: x}}}}`},
		apitest.Warned{Name: "volumes", Change: `spec: {volumes: [{name: a, gitRepo: {repository: r}}, {name: b, rbd: {monitors: [m], image: i}}, {name: c, ephemeral: {volumeClaimTemplate: {spec: {resources: {requests: {storage: 100m}}}}}}]}`, Want: []string{
			`spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+`,
			`spec.volumes[1].rbd: deprecated in v1.28, non-functional in v1.31+`,
			`spec.volumes[2].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "100m" is invalid, must be an integer`,
		}},
		apitest.Warned{Name: "paths of volumes", Change: `spec: {volumes: [{name: a, configMap: {name: m, items: [{key: k, path: x}, {key: l, path: x/y}]}},
  {name: b, projected: {sources: [{secret: {name: s, items: [{key: k, path: token}]}}, {serviceAccountToken: {path: token}}, {}]}}]}`, Want: []string{
			`volume "a" (ConfigMap "m"): overlapping paths: "x/y" with "x"`,
			`volume "b" (Projected) has no sources provided`,
			`volume "b" (Projected): overlapping paths: "token" (ServiceAccountToken) with "token" (Secret "s")`,
		}},
		apitest.Warned{Name: "twice", Change: `spec: {hostAliases: [{ip: 1.2.3.4}, {ip: 1.2.3.4}], imagePullSecrets: [{name: a}, {name: a}, {}],
  containers: [{name: c, image: i, env: [{name: A, value: a}, {name: A, value: b}, {name: B, value: b}, {name: B, value: 'x $(B)'}]}]}`, Want: []string{
			`spec.hostAliases[1].ip: duplicate ip "1.2.3.4"`,
			`spec.imagePullSecrets[1].name: duplicate name "a"`,
			`spec.imagePullSecrets[2].name: invalid empty name ""`,
			`spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`,
		}},
		apitest.Warned{Name: "parts of bytes", Change: `spec: {overhead: {memory: 1m}, initContainers: [{name: d, image: i, resources: {limits: {memory: "1.5"}, requests: {ephemeral-storage: 100m}}}]}`, Want: []string{
			`spec.overhead[memory]: fractional byte value "1m" is invalid, must be an integer`,
			`spec.initContainers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer`,
			`spec.initContainers[0].resources.requests[ephemeral-storage]: fractional byte value "100m" is invalid, must be an integer`,
		}},
		apitest.Warned{Name: "ports", Change: `spec: {containers: [{name: c, image: i, ports: [{name: a, containerPort: 80, protocol: TCP}, {containerPort: 80, protocol: TCP, hostPort: 8080}, {containerPort: 81, protocol: TCP, hostIP: 1.2.3.4}]},
  {name: d, image: i, ports: [{name: a, containerPort: 80, protocol: TCP}, {containerPort: 80, protocol: TCP, hostPort: 8080, hostIP: 1.2.3.4}, {containerPort: 80, protocol: UDP}]}]}`, Want: []string{
			`spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]`,
			`spec.containers[0].ports[2]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:81 Protocol:TCP HostIP:1.2.3.4}`,
			`spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]`,
			`spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[1]`,
			`spec.containers[1].ports[1]: overlapping port definition with spec.containers[0].ports[0]`,
			`spec.containers[1].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[1]`,
			`spec.containers[1].ports[1]: overlapping port definition with spec.containers[1].ports[0]`,
			`spec.containers[1].ports[0]: duplicate port name "a" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]`,
		}},
		apitest.Warned{Name: "addresses and time", Change: `spec: {terminationGracePeriodSeconds: -1, dnsConfig: {nameservers: [001.2.3.4]}, hostAliases: [{ip: 'FD00::1'}]}`, Want: []string{
			`spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`,
			`spec.dnsConfig.nameservers[0]: non-standard IP address "001.2.3.4" is invalid: use "1.2.3.4"`,
			`spec.hostAliases[0].ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")`,
		}},
	)
}

func TestServiceWarnings(t *testing.T) {
	apitest.Warnings(t, `{metadata: {name: s}, spec: {type: ClusterIP, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]}}`, WarningsService,
		apitest.Warned{Name: "annotation", Change: `metadata: {annotations: {service.kubernetes.io/topology-aware-hints: auto}}`,
			Want: []string{"annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead"}},
		apitest.Warned{Name: "headless", Change: `spec: {clusterIP: None, clusterIPs: [None], loadBalancerIP: 1.2.3.4, externalIPs: [1.2.3.4], sessionAffinity: ClientIP}`,
			Want: []string{"spec.loadBalancerIP is ignored for headless services", "spec.externalIPs is ignored for headless services", "spec.SessionAffinity is ignored for headless services"}},
		apitest.Warned{Name: "external addresses", Change: `spec: {externalIPs: [1.2.3.4], loadBalancerSourceRanges: [10.0.0.1/8], trafficDistribution: PreferClose}`, Want: []string{
			"spec.externalIPs is deprecated and may no longer be implemented in some clusters",
			`spec.loadBalancerSourceRanges[0]: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)`,
			`spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`}},
		apitest.Warned{Name: "external name", Change: `spec: {type: ExternalName, clusterIP: "", clusterIPs: null, externalName: x, externalIPs: [1.2.3.4]}`, Want: []string{`spec.externalIPs is ignored when spec.type is "ExternalName"`}},
		apitest.Warned{Name: "no external name", Change: `spec: {externalName: x}`, Want: []string{`spec.externalName is ignored when spec.type is not "ExternalName"`}},
	)
}

func TestCoreWarnings(t *testing.T) {
	apitest.Warnings(t, `{metadata: {name: n}, spec: {podCIDRs: [10.0.0.0/24]}}`, WarningsNode,
		apitest.Warned{Name: "node", Change: `spec: {externalID: x, configSource: {}, podCIDRs: [10.0.0.0/024]}`, Want: []string{
			"spec.configSource: the feature is removed", "spec.externalID: this field is deprecated, and is unused by Kubernetes",
			`spec.podCIDRs[0]: non-standard CIDR value "10.0.0.0/024" is invalid: use "10.0.0.0/24"`}})
	apitest.Warnings(t, `{metadata: {name: s}, type: Opaque}`, WarningsSecret,
		apitest.Warned{Name: "no certificate", Change: `type: kubernetes.io/tls`, Want: []string{"tls: failed to find any PEM data in certificate input"}})
	apitest.Warnings(t, `{metadata: {name: e}, subsets: [{addresses: [{ip: 10.0.0.1}]}]}`, WarningsEndpoints,
		apitest.Warned{Name: "address", Change: `subsets: [{notReadyAddresses: [{ip: '::ffff:1.2.3.4'}]}]`, Want: []string{
			`subsets[0].notReadyAddresses[0].ip: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4"`}},
		apitest.Warned{Name: "address of the controller", Change: `{metadata: {labels: {endpoints.kubernetes.io/managed-by: endpoint-controller}}, subsets: [{addresses: [{ip: 01.2.3.4}]}]}`})
	apitest.Warnings(t, `{metadata: {name: q}, spec: {hard: {requests.cpu: 1, limits.cpu: 2}}}`, WarningsResourceQuota,
		apitest.Warned{Name: "requests above limits", Change: `spec: {hard: {memory: 2Gi, limits.memory: 1Gi}}`, Want: []string{"ResourceQuota memory (2Gi) should be less than limits.memory (1Gi)"}})
	apitest.Warnings(t, `{metadata: {name: v}, spec: {hostPath: {path: /x}}}`, WarningsPersistentVolume,
		apitest.Warned{Name: "volume", Change: `{metadata: {annotations: {volume.beta.kubernetes.io/storage-class: x, volume.beta.kubernetes.io/mount-options: x}}, spec: {persistentVolumeReclaimPolicy: Recycle, hostPath: null, cephfs: {monitors: [m]},
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: beta.kubernetes.io/arch}]}]}}}}`, Want: []string{
			`metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`,
			`metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead`,
			"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
			`spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead`,
			"spec.cephfs: deprecated in v1.28, non-functional in v1.31+"}})
	apitest.Warnings(t, `{metadata: {name: c}, spec: {resources: {requests: {storage: 1Gi}}}}`, WarningsPersistentVolumeClaim,
		apitest.Warned{Name: "claim", Change: `{metadata: {annotations: {volume.beta.kubernetes.io/storage-class: x}}, spec: {resources: {requests: {storage: 1m}}}}`, Want: []string{
			`metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`,
			`spec.resources.requests[storage]: fractional byte value "1m" is invalid, must be an integer`}})
	apitest.Warnings(t, `{metadata: {name: rc}, spec: {template: {spec: {containers: [{name: c, image: i}]}}}}`, WarningsReplicationController,
		apitest.Warned{Name: "template", Change: `spec: {template: {metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}}}`, Want: []string{
			`spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead`}})
}

// What has been said once, of what was there before, is not said again.
func TestWarningsOfUpdates(t *testing.T) {
	account := func(annotation string) *corev1.ServiceAccount {
		return apitest.Object[corev1.ServiceAccount](t, `metadata: {name: a, annotations: {`+annotation+`: "true"}}`)
	}
	const key = "kubernetes.io/enforce-mountable-secrets"
	for _, c := range []struct {
		now, before *corev1.ServiceAccount
		want        int
	}{{account("x"), nil, 0}, {account(key), nil, 1}, {account(key), account("x"), 1}, {account(key), account(key), 0}} {
		if got := WarningsServiceAccount(c.now, c.before); len(got) != c.want {
			t.Errorf("%v after %v: %q", c.now.Annotations, c.before, got)
		}
	}
	template := apitest.Object[corev1.ReplicationController](t, `{metadata: {name: a.b, generation: 2}, spec: {template: {spec: {terminationGracePeriodSeconds: -1}}}}`)
	for generation, want := range map[int64]int{1: 1, 2: 0} {
		before := template.DeepCopy()
		before.Generation = generation
		if got := WarningsReplicationController(template, before); len(got) != want {
			t.Errorf("after generation %d: %q", generation, got)
		}
	}
	if got := WarningsPod(&corev1.Pod{}, &corev1.Pod{}); got != nil {
		t.Errorf("updated pod: %q", got)
	}
}

// Nothing is allocated for what most pods are; this is on the way of every pod that a controller makes.
func BenchmarkPodWarnings(b *testing.B) {
	pod := apitest.Object[corev1.Pod](b, `
metadata: {name: p, annotations: {a: b}}
spec: {containers: [{name: c, image: i, ports: [{containerPort: 80}], env: [{name: A}, {name: B}], resources: {requests: {cpu: 1, memory: 1Gi}}}], volumes: [{name: v, emptyDir: {}}]}
`)
	b.ReportAllocs()
	for b.Loop() {
		WarningsPod(pod, nil)
	}
}

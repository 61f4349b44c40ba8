// SPDX-License-Identifier: Apache-2.0

// This file checks what Pods get by default, what the server sets on create, and their class of service.

package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestPodDefaults(t *testing.T) {
	const base = `
metadata: {name: web}
spec:
  restartPolicy: Never
  dnsPolicy: Default
  terminationGracePeriodSeconds: 5
  schedulerName: own
  enableServiceLinks: false
  securityContext: {runAsUser: 1}
`
	const container = `name: a, image: 'a:1', imagePullPolicy: Never, terminationMessagePath: /x, terminationMessagePolicy: File`
	apitest.Effects(t, base, SetDefaultsPod,
		apitest.Effect{Name: "nothing said", Change: `spec: null`, Want: `spec:
  restartPolicy: Always
  dnsPolicy: ClusterFirst
  terminationGracePeriodSeconds: 30
  schedulerName: default-scheduler
  enableServiceLinks: true
  securityContext: {}
`},
		apitest.Effect{Name: "container",
			Change: `spec: {containers: [{name: a, image: 'a:1', ports: [{containerPort: 80}]}]}`,
			Want:   `spec: {containers: [{name: a, image: 'a:1', imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, resources: {}, ports: [{containerPort: 80, protocol: TCP}]}]}`},
		apitest.Effect{Name: "requests from limits",
			Change: `spec: {containers: [{` + container + `, resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: 100m}}}]}`,
			Want:   `spec: {containers: [{` + container + `, resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: 100m, memory: 1Gi}}}]}`},
		apitest.Effect{Name: "probe",
			Change: `spec: {containers: [{` + container + `, livenessProbe: {httpGet: {port: 80}}, readinessProbe: {grpc: {port: 90}}}]}`,
			Want: `spec: {containers: [{` + container + `,
livenessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3},
readinessProbe: {grpc: {port: 90, service: ''}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}}]}`},
		apitest.Effect{Name: "ports of the host's network",
			Change: `spec: {hostNetwork: true, containers: [{` + container + `, ports: [{containerPort: 80}]}]}`,
			Want:   `spec: {containers: [{` + container + `, ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]}]}`},
		apitest.Effect{Name: "field of an environment variable",
			Change: `spec: {containers: [{` + container + `, env: [{name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}`,
			Want:   `spec: {containers: [{` + container + `, env: [{name: N, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}]}]}`},
		apitest.Effect{Name: "volumes",
			Change: `spec: {volumes: [{name: a}, {name: b, configMap: {name: c}}, {name: d, secret: {secretName: e}}, {name: f, hostPath: {path: /x}}, {name: g, projected: {sources: [{serviceAccountToken: {path: t}}]}}]}`,
			Want:   `spec: {volumes: [{name: a, emptyDir: {}}, {name: b, configMap: {name: c, defaultMode: 420}}, {name: d, secret: {secretName: e, defaultMode: 420}}, {name: f, hostPath: {path: /x, type: ''}}, {name: g, projected: {defaultMode: 420, sources: [{serviceAccountToken: {path: t, expirationSeconds: 3600}}]}}]}`},
		apitest.Effect{Name: "old name of the service account", Change: `spec: {serviceAccount: robot}`,
			Want: `spec: {serviceAccountName: robot}`},
		apitest.Effect{Name: "new name of the service account", Change: `spec: {serviceAccountName: robot}`,
			Want: `spec: {serviceAccount: robot}`},
	)
}

func TestDefaultPullPolicy(t *testing.T) {
	const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for image, want := range map[string]corev1.PullPolicy{
		"nginx":                      corev1.PullAlways,
		"nginx:latest":               corev1.PullAlways,
		"nginx:1":                    corev1.PullIfNotPresent,
		"localhost:5000/nginx":       corev1.PullAlways,
		"localhost:5000/nginx:1":     corev1.PullIfNotPresent,
		"nginx" + digest:             corev1.PullIfNotPresent,
		"nginx:latest" + digest:      corev1.PullAlways,
		"Example.com/a/b":            corev1.PullAlways,
		"../x":                       corev1.PullIfNotPresent,
		"example.com/Not/lower-case": corev1.PullIfNotPresent,
	} {
		if got := defaultPullPolicy(image); got != want {
			t.Errorf("defaultPullPolicy(%q) = %s, want %s", image, got, want)
		}
	}
}

// TestPodQOSClassOfTheClient holds that a class that the creator of a pod has named stays.
func TestPodQOSClassOfTheClient(t *testing.T) {
	for named, want := range map[corev1.PodQOSClass]corev1.PodQOSClass{"": corev1.PodQOSBestEffort, "Named": "Named"} {
		pod := &corev1.Pod{Status: corev1.PodStatus{QOSClass: named, Message: "gone"}}
		if PreparePodForCreate(pod); pod.Status.QOSClass != want || pod.Status.Message != "" {
			t.Errorf("named %q: status %+v", named, pod.Status)
		}
	}
}

func TestPodQOSClass(t *testing.T) {
	for _, c := range []struct {
		name string
		spec string
		want corev1.PodQOSClass
	}{
		{"nothing asked for", `{containers: [{name: a}]}`, corev1.PodQOSBestEffort},
		{"other resources do not count", `{containers: [{name: a, resources: {limits: {example.com/gpu: '1'}}}]}`, corev1.PodQOSBestEffort},
		{"a request", `{containers: [{name: a, resources: {requests: {cpu: '1'}}}]}`, corev1.PodQOSBurstable},
		{"limits alone", `{containers: [{name: a, resources: {limits: {cpu: '1', memory: 1Gi}}}]}`, corev1.PodQOSBurstable},
		{"requests equal limits", `{containers: [{name: a, resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: 1000m, memory: 1024Mi}}}]}`, corev1.PodQOSGuaranteed},
		{"one container without", `{containers: [{name: a, resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: '1', memory: 1Gi}}}, {name: b}]}`, corev1.PodQOSBurstable},
		{"an init container without", `{initContainers: [{name: i}], containers: [{name: a, resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: '1', memory: 1Gi}}}]}`, corev1.PodQOSBurstable},
		{"the pod's own", `{resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: '1', memory: 1Gi}}, containers: [{name: a}]}`, corev1.PodQOSGuaranteed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := PodQOSClass(apitest.Object[corev1.Pod](t, "spec: "+c.spec)); got != c.want {
				t.Errorf("class = %s, want %s", got, c.want)
			}
		})
	}
}

func TestPreparePodForCreate(t *testing.T) {
	const base = `
metadata: {name: web, labels: {app: web, track: a}}
spec: {containers: [{name: a, resources: {requests: {cpu: '1'}}}]}
status: {phase: Running, podIP: 10.0.0.1}
`
	prepare := func(pod *corev1.Pod) {
		PreparePodForCreate(pod)
		for i := range pod.Status.Conditions {
			pod.Status.Conditions[i].LastTransitionTime = metav1.Time{}
		}
	}
	apitest.Effects(t, base, prepare,
		apitest.Effect{Name: "status", Want: `status: {phase: Pending, podIP: null, qosClass: Burstable}`},
		apitest.Effect{Name: "gated", Change: `spec: {schedulingGates: [{name: quota}]}`,
			Want: `status: {phase: Pending, podIP: null, qosClass: Burstable, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated, message: Scheduling is blocked due to non-empty scheduling gates}]}`},
		apitest.Effect{Name: "label keys",
			Change: `spec: {topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: {}, matchLabelKeys: [track, none]}]}`,
			Want: `
spec: {topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchExpressions: [{key: track, operator: In, values: [a]}]}, matchLabelKeys: [track, none]}]}
status: {phase: Pending, podIP: null, qosClass: Burstable}`},
	)
}

func TestPodResize(t *testing.T) {
	kind := apitest.Kind[corev1.Pod]{
		SetDefaults:      SetDefaultsPod,
		PrepareForUpdate: PreparePodForResize,
		ValidateUpdate:   ValidatePodResize,
	}
	const base = `
metadata: {name: web, namespace: default}
spec: {nodeName: n, containers: [{name: a, image: 'a:1', resources: {requests: {cpu: '1', memory: 1Gi}}}]}
status: {qosClass: Burstable}
`
	kind.Update(t, base,
		apitest.Case{Name: "more cpu", Change: `spec: {containers: [{name: a, image: 'a:1', resources: {requests: {cpu: '2', memory: 1Gi}}}]}`},
		apitest.Case{Name: "all else is left as it was", Change: `
metadata: {labels: {x: y}}
spec: {nodeName: other, containers: [{name: a, image: 'b:1', resources: {requests: {cpu: '1', memory: 1Gi}}}]}`},
		apitest.Case{Name: "other class of service", Change: `spec: {containers: [{name: a, image: 'a:1', resources: {requests: {cpu: '1', memory: 1Gi}, limits: {cpu: '1', memory: 1Gi}}}]}`,
			Want: `spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing`},
		apitest.Case{Name: "a new resource", Change: `spec: {containers: [{name: a, image: 'a:1', resources: {requests: {cpu: '1', memory: 1Gi, ephemeral-storage: 1Gi}}}]}`,
			Want: `spec: Forbidden: only cpu and memory resources are mutable`},
	)
}

func TestPodEphemeralContainers(t *testing.T) {
	kind := apitest.Kind[corev1.Pod]{
		SetDefaults:      SetDefaultsPod,
		PrepareForUpdate: PreparePodForEphemeralContainersUpdate,
		ValidateUpdate:   ValidatePodEphemeralContainersUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec: {containers: [{name: a, image: 'a:1'}], ephemeralContainers: [{name: debug, image: 'sh:1'}]}
`
	kind.Update(t, base,
		apitest.Case{Name: "another", Change: `spec: {ephemeralContainers: [{name: debug, image: 'sh:1'}, {name: more, image: 'sh:1', targetContainerName: a}]}`},
		apitest.Case{Name: "all else is left as it was", Change: `spec: {containers: [{name: a, image: 'b:1'}]}`},
		apitest.Case{Name: "removed", Change: `spec: {ephemeralContainers: null}`,
			Want: "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be removed\n"},
		apitest.Case{Name: "changed", Change: `spec: {ephemeralContainers: [{name: debug, image: 'sh:2'}]}`,
			Want: "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be changed\n…"},
		apitest.Case{Name: "with ports", Change: `spec: {ephemeralContainers: [{name: debug, image: 'sh:1'}, {name: more, image: 'sh:1', ports: [{containerPort: 80, protocol: TCP}]}]}`,
			Want: `spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container`},
		apitest.Case{Name: "for no container", Change: `spec: {ephemeralContainers: [{name: debug, image: 'sh:1'}, {name: more, image: 'sh:1', targetContainerName: z}]}`,
			Want: `spec.ephemeralContainers[1].targetContainerName: Not found: "z"`},
	)
}

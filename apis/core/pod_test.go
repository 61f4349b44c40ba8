// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in Pods: the error is the one that kube-apiserver gives.

package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestPod(t *testing.T) {
	kind := apitest.Kind[corev1.Pod]{
		SetDefaults:          SetDefaultsPod,
		PrepareForCreate:     PreparePodForCreate,
		PrepareForUpdate:     PreparePodForUpdate,
		Validate:             ValidatePod,
		ValidateUpdate:       ValidatePodUpdate,
		ValidateStatusUpdate: ValidatePodStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  containers:
  - {name: web, image: nginx}
`
	kind.Create(t, base,
		apitest.Case{Name: `no containers`, Change: `spec: {containers: null}`,
			Want: `spec.containers: Required value`},
		apitest.Case{Name: `no name`, Change: `metadata: {name: null}`,
			Want: `metadata.name: Required value: name or generateName is required`},
		apitest.Case{Name: `bad name`, Change: `metadata: {name: Web_1}`,
			Want: "metadata.name: Invalid value: \"Web_1\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"},
		apitest.Case{Name: `no image`, Change: `spec: {containers: [{name: web}]}`,
			Want: `spec.containers[0].image: Required value`},
		apitest.Case{Name: `image with a space`, Change: `spec: {containers: [{name: web, image: 'nginx '}]}`,
			Want: `spec.containers[0].image: Invalid value: "nginx ": must not have leading or trailing whitespace`},
		apitest.Case{Name: `bad container name`, Change: `spec: {containers: [{name: Web, image: nginx}]}`,
			Want: `spec.containers[0].name: Invalid value: "Web": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`},
		apitest.Case{Name: `two containers of one name`, Change: `spec: {containers: [{name: a, image: x}, {name: a, image: x}]}`,
			Want: `spec.containers[1].name: Duplicate value: "a"`},
		apitest.Case{Name: `bad label`, Change: `metadata: {labels: {app: 'not valid'}}`,
			Want: `metadata.labels: Invalid value: "not valid": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`},
		apitest.Case{Name: `finalizer without domain`, Change: `metadata: {finalizers: [mine]}`,
			Want: `metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`},
		apitest.Case{Name: `unknown restart policy`, Change: `spec: {restartPolicy: Sometimes}`,
			Want: `spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`},
		apitest.Case{Name: `unknown pull policy`, Change: `spec: {containers: [{name: web, image: nginx, imagePullPolicy: Often}]}`,
			Want: `spec.containers[0].imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"`},
		apitest.Case{Name: `mount of no volume`, Change: `spec: {containers: [{name: web, image: nginx, volumeMounts: [{name: data, mountPath: /data}]}]}`,
			Want: `spec.containers[0].volumeMounts[0].name: Not found: "data"`},
		apitest.Case{Name: `mounts at one path`, Change: `spec: {volumes: [{name: a}, {name: b}], containers: [{name: web, image: nginx, volumeMounts: [{name: a, mountPath: /d}, {name: b, mountPath: /d}]}]}`,
			Want: `spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/d": must be unique`},
		apitest.Case{Name: `volume without name`, Change: `spec: {volumes: [{emptyDir: {}}]}`,
			Want: `spec.volumes[0].name: Required value`},
		apitest.Case{Name: `volume with two sources`, Change: `spec: {volumes: [{name: a, emptyDir: {}, configMap: {name: b}}]}`,
			Want: `spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type`},
		apitest.Case{Name: `config map without name`, Change: `spec: {volumes: [{name: a, configMap: {}}]}`,
			Want: `spec.volumes[0].configMap.name: Required value`},
		apitest.Case{Name: `key path that climbs`, Change: `spec: {volumes: [{name: a, configMap: {name: b, items: [{key: k, path: ../up}]}}]}`,
			Want: `spec.volumes[0].configMap.items[0].path: Invalid value: "../up": must not contain '..'`},
		apitest.Case{Name: `mode out of range`, Change: `spec: {volumes: [{name: a, secret: {secretName: b, defaultMode: 4096}}]}`,
			Want: `spec.volumes[0].secret.defaultMode: Invalid value: 4096: must be a number between 0 and 0777 (octal), both inclusive`},
		apitest.Case{Name: `token that ends too soon`, Change: `spec: {serviceAccountName: x, volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 60}}]}}]}`,
			Want: `spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes`},
		apitest.Case{Name: `token without account`, Change: `spec: {volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: token}}]}}]}`,
			Want: `spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set`},
		apitest.Case{Name: `host path that climbs`, Change: `spec: {volumes: [{name: a, hostPath: {path: /a/../b}}]}`,
			Want: `spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain '..'`},
		apitest.Case{Name: `claim template without storage`, Change: `spec: {volumes: [{name: a, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce]}}}}]}`,
			Want: `spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value`},
		apitest.Case{Name: `env without name`, Change: `spec: {containers: [{name: web, image: nginx, env: [{value: x}]}]}`,
			Want: `spec.containers[0].env[0].name: Required value`},
		apitest.Case{Name: `env with value and source`, Change: `spec: {containers: [{name: web, image: nginx, env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}`,
			Want: "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"},
		apitest.Case{Name: `env from unknown field`, Change: `spec: {containers: [{name: web, image: nginx, env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.nope}}}]}]}`,
			Want: `spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.nope": error converting fieldPath: field label not supported: spec.nope`},
		apitest.Case{Name: `env from field of volumes`, Change: `spec: {containers: [{name: web, image: nginx, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]}]}`,
			Want: `spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"`},
		apitest.Case{Name: `env from a label`, Change: `spec: {containers: [{name: web, image: nginx, env: [{name: A, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}]}]}`},
		apitest.Case{Name: `env from key without name`, Change: `spec: {containers: [{name: web, image: nginx, env: [{name: A, valueFrom: {secretKeyRef: {key: k}}}]}]}`,
			Want: "spec.containers[0].env[0].valueFrom.secretKeyRef.name: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"},
		apitest.Case{Name: `env from nothing`, Change: `spec: {containers: [{name: web, image: nginx, envFrom: [{prefix: P_}]}]}`,
			Want: "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"},
		apitest.Case{Name: `port out of range`, Change: `spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 70000}]}]}`,
			Want: `spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive`},
		apitest.Case{Name: `port name too long`, Change: `spec: {containers: [{name: web, image: nginx, ports: [{name: administration-port, containerPort: 80}]}]}`,
			Want: `spec.containers[0].ports[0].name: Invalid value: "administration-port": must be no more than 15 characters`},
		apitest.Case{Name: `host port twice`, Change: `spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80, hostPort: 80}, {containerPort: 81, hostPort: 80}]}]}`,
			Want: `spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"`},
		apitest.Case{Name: `host network and other host port`, Change: `spec: {hostNetwork: true, containers: [{name: web, image: nginx, ports: [{containerPort: 80, hostPort: 81}]}]}`,
			Want: "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"},
		apitest.Case{Name: `request above limit`, Change: `spec: {containers: [{name: web, image: nginx, resources: {limits: {cpu: 100m}, requests: {cpu: 200m}}}]}`,
			Want: `spec.containers[0].resources.requests: Invalid value: "200m": must be less than or equal to cpu limit of 100m`},
		apitest.Case{Name: `negative limit`, Change: `spec: {containers: [{name: web, image: nginx, resources: {limits: {memory: '-1'}}}]}`,
			Want: `[spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0, spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0]`},
		apitest.Case{Name: `unknown resource`, Change: `spec: {containers: [{name: web, image: nginx, resources: {limits: {gpu: '1'}}}]}`,
			Want: `[spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified, spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers, spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified, spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers]`},
		apitest.Case{Name: `half a device`, Change: `spec: {containers: [{name: web, image: nginx, resources: {limits: {example.com/gpu: 500m}}}]}`,
			Want: `[spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer, spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "500m": must be an integer]`},
		apitest.Case{Name: `huge pages alone`, Change: `spec: {containers: [{name: web, image: nginx, resources: {limits: {hugepages-2Mi: 4Mi}}}]}`,
			Want: `spec.containers[0].resources: Forbidden: HugePages require cpu or memory`},
		apitest.Case{Name: `pod smaller than its containers`, Change: `spec: {resources: {requests: {cpu: 100m}, limits: {cpu: '1'}}, containers: [{name: web, image: nginx, resources: {requests: {cpu: 200m}}}]}`,
			Want: `spec.resources.requests[cpu]: Invalid value: "100m": must be greater than or equal to aggregate container requests of 200m`},
		apitest.Case{Name: `probe without handler`, Change: `spec: {containers: [{name: web, image: nginx, livenessProbe: {periodSeconds: 5}}]}`,
			Want: `spec.containers[0].livenessProbe: Required value: must specify a handler type`},
		apitest.Case{Name: `liveness that must succeed twice`, Change: `spec: {containers: [{name: web, image: nginx, livenessProbe: {successThreshold: 2, tcpSocket: {port: 80}}}]}`,
			Want: `spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1`},
		apitest.Case{Name: `probe with two handlers`, Change: `spec: {containers: [{name: web, image: nginx, readinessProbe: {exec: {command: [a]}, tcpSocket: {port: 80}}}]}`,
			Want: `spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type`},
		apitest.Case{Name: `hook that sleeps too long`, Change: `spec: {terminationGracePeriodSeconds: 5, containers: [{name: web, image: nginx, lifecycle: {preStop: {sleep: {seconds: 6}}}}]}`,
			Want: `spec.containers[0].lifecycle.preStop.sleep: Invalid value: 6: must be non-negative and less than terminationGracePeriodSeconds (5)`},
		apitest.Case{Name: `probe of an init container`, Change: `spec: {initContainers: [{name: i, image: x, readinessProbe: {tcpSocket: {port: 80}}}]}`,
			Want: `spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always`},
		apitest.Case{Name: `probe of a sidecar`, Change: `spec: {initContainers: [{name: i, image: x, restartPolicy: Always, readinessProbe: {tcpSocket: {port: 80}}}]}`},
		apitest.Case{Name: `restart rules without policy`, Change: `spec: {containers: [{name: web, image: nginx, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]}]}`,
			Want: `spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used`},
		apitest.Case{Name: `privileged without escalation`, Change: `spec: {containers: [{name: web, image: nginx, securityContext: {capabilities: {add: [CAP_SYS_ADMIN]}, allowPrivilegeEscalation: false, procMount: Odd}}]}`,
			Want: "[spec.containers[0].securityContext.procMount: Unsupported value: \"Odd\": supported values: \"Default\", \"Unmasked\", spec.containers[0].securityContext: Invalid value: {\"Capabilities\":{\"Add\":[\"CAP_SYS_ADMIN\"],\"Drop\":null},\"Privileged\":null,\"SELinuxOptions\":null,\"WindowsOptions\":null,\"RunAsUser\":null,\"RunAsGroup\":null,\"RunAsNonRoot\":null,\"ReadOnlyRootFilesystem\":null,\"AllowPrivilegeEscalation\":false,\"ProcMount\":\"Odd\",\"SeccompProfile\":null,\"AppArmorProfile\":null}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN]"},
		apitest.Case{Name: `user out of range`, Change: `spec: {securityContext: {runAsUser: -1}}`,
			Want: `spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive`},
		apitest.Case{Name: `local seccomp profile without name`, Change: `spec: {securityContext: {seccompProfile: {type: Localhost}}}`,
			Want: `spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost`},
		apitest.Case{Name: `host IPC in a user namespace`, Change: `spec: {hostUsers: false, hostIPC: true}`,
			Want: "spec.HostIPC: Forbidden: when `hostUsers` is false"},
		apitest.Case{Name: `sysctl of the host's network`, Change: `spec: {hostNetwork: true, securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: '1'}]}}`,
			Want: `spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.tcp_syncookies": may not be specified when 'hostNetwork' is true`},
		apitest.Case{Name: `DNS of nothing`, Change: `spec: {dnsPolicy: None}`,
			Want: "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"},
		apitest.Case{Name: `bad nameserver`, Change: `spec: {dnsConfig: {nameservers: [here]}}`,
			Want: `spec.dnsConfig.nameservers[0]: Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
		apitest.Case{Name: `bad host alias`, Change: `spec: {hostAliases: [{ip: 1.2.3, hostnames: [a_b]}]}`,
			Want: "[spec.hostAliases[0].ip: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff), spec.hostAliases[0].hostnames[0]: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')]"},
		apitest.Case{Name: `toleration of every key that must equal`, Change: `spec: {tolerations: [{value: x}]}`,
			Want: "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\""},
		apitest.Case{Name: `toleration in time of the wrong effect`, Change: `spec: {tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}]}`,
			Want: "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"},
		apitest.Case{Name: `node affinity without terms`, Change: `spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}}`,
			Want: `spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term`},
		apitest.Case{Name: `weight out of range`, Change: `spec: {affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, podAffinityTerm: {topologyKey: zone}}]}}}`,
			Want: `spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100`},
		apitest.Case{Name: `affinity without topology`, Change: `spec: {affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {a: b}}}]}}}`,
			Want: `[spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty, spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: "": name part must be non-empty, spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]`},
		apitest.Case{Name: `spread of nothing`, Change: `spec: {topologySpreadConstraints: [{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: Never}]}`,
			Want: `[spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero, spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"]`},
		apitest.Case{Name: `spread by keys without selector`, Change: `spec: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [app]}]}`,
			Want: `spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set`},
		apitest.Case{Name: `gated and placed`, Change: `spec: {nodeName: n, schedulingGates: [{name: a.io/b}]}`,
			Want: `spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared`},
		apitest.Case{Name: `ephemeral containers from the start`, Change: `spec: {ephemeralContainers: [{name: debug, image: busybox}]}`,
			Want: `spec.ephemeralContainers: Forbidden: cannot be set on create`},
		apitest.Case{Name: `windows pod with linux settings`, Change: `spec: {os: {name: windows}, hostPID: true, containers: [{name: web, image: nginx, securityContext: {privileged: false}}]}`,
			Want: `[spec.hostPID: Forbidden: cannot be set for a windows pod, spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod]`},
		apitest.Case{Name: `mirror pod without node`, Change: `metadata: {annotations: {kubernetes.io/config.mirror: x}}`,
			Want: `metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set`},
		apitest.Case{Name: `deletion cost that is no number`, Change: `metadata: {annotations: {controller.kubernetes.io/pod-deletion-cost: '+5'}}`,
			Want: `metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+5": must be a 32bit integer`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `image`, Change: `spec: {containers: [{name: web, image: 'nginx'}]}`},
		apitest.Case{Name: `another container`, Change: `spec: {containers: [{name: web, image: nginx}, {name: b, image: c}]}`,
			Want: `spec.containers: Forbidden: pod updates may not add or remove containers`},
		apitest.Case{Name: `another command`, Change: `spec: {containers: [{name: web, image: nginx, command: [sh]}]}`,
			Want: "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)…"},
		apitest.Case{Name: `empty image`, Change: `spec: {containers: [{name: web, image: ''}]}`,
			Want: "[spec.containers[0].image: Required value, spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)…"},
		apitest.Case{Name: `toleration added`, Change: `spec: {tolerations: [{key: a, operator: Exists}]}`},
		apitest.Case{Name: `deadline set`, Change: `spec: {activeDeadlineSeconds: 5}`},
		apitest.Case{Name: `another node selector`, Change: `spec: {nodeSelector: {a: b}}`,
			Want: "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)…"},
		apitest.Case{Name: `gate added`, Change: `spec: {schedulingGates: [{name: a.io/b}]}`,
			Want: `spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a.io/b'`},
		apitest.Case{Name: `mirror annotation added`, Change: `metadata: {annotations: {kubernetes.io/config.mirror: x}}`,
			Want: `[metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set, metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation]`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `unknown condition type`, Change: `status: {conditions: [{type: 'not valid', status: 'True'}]}`,
			Want: `status.conditions[0].Type: Invalid value: "not valid": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`},
		apitest.Case{Name: `address that is none`, Change: `status: {podIPs: [{ip: here}]}`,
			Want: `status.podIPs[0]: Invalid value: "here": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
		apitest.Case{Name: `two addresses of one family`, Change: `status: {podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.2}]}`,
			Want: `status.podIPs: Invalid value: [{"IP":"10.0.0.1"},{"IP":"10.0.0.2"}]: may specify no more than one IP for each IP family`},
		apitest.Case{Name: `another class of service`, Change: `status: {qosClass: Guaranteed}`,
			Want: `status.qosClass: Invalid value: "Guaranteed": field is immutable`},
		apitest.Case{Name: `host address that differs`, Change: `status: {hostIP: 10.0.0.1, hostIPs: [{ip: 10.0.0.2}]}`,
			Want: "status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`"},
	)
}

func TestPodRunning(t *testing.T) {
	kind := apitest.Kind[corev1.Pod]{
		SetDefaults:          SetDefaultsPod,
		PrepareForCreate:     PreparePodForCreate,
		PrepareForUpdate:     PreparePodForUpdate,
		Validate:             ValidatePod,
		ValidateUpdate:       ValidatePodUpdate,
		ValidateStatusUpdate: ValidatePodStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec:
  nodeName: n
  activeDeadlineSeconds: 10
  restartPolicy: OnFailure
  tolerations: [{key: a, operator: Exists}]
  containers:
  - {name: web, image: nginx}
  - {name: once, image: nginx, restartPolicy: Never}
status:
  phase: Running
  containerStatuses:
  - {name: web, state: {terminated: {exitCode: 0}}, ready: false, restartCount: 0, image: "", imageID: ""}
  - {name: once, state: {terminated: {exitCode: 1}}, ready: false, restartCount: 0, image: "", imageID: ""}
`
	kind.Create(t, base)
	kind.Update(t, base,
		apitest.Case{Name: `deadline brought forward`, Change: `spec: {activeDeadlineSeconds: 5}`},
		apitest.Case{Name: `deadline put off`, Change: `spec: {activeDeadlineSeconds: 15}`,
			Want: `spec.activeDeadlineSeconds: Invalid value: 15: must be less than or equal to previous value`},
		apitest.Case{Name: `deadline removed`, Change: `spec: {activeDeadlineSeconds: null}`,
			Want: `spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value`},
		apitest.Case{Name: `toleration removed`, Change: `spec: {tolerations: []}`,
			Want: `spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds`},
		apitest.Case{Name: `moved`, Change: `spec: {nodeName: other}`,
			Want: "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)…"},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `ended container runs again`, Change: `status: {containerStatuses: [{name: web, state: {running: {}}, ready: false, restartCount: 1, image: '', imageID: ''}, {name: once, state: {terminated: {exitCode: 1}}, ready: false, restartCount: 0, image: '', imageID: ''}]}`,
			Want: `status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state`},
		apitest.Case{Name: `nominated although bound`, Change: `status: {nominatedNodeName: other}`,
			Want: `status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node`},
	)
}

func TestPodGated(t *testing.T) {
	kind := apitest.Kind[corev1.Pod]{
		SetDefaults:          SetDefaultsPod,
		PrepareForCreate:     PreparePodForCreate,
		PrepareForUpdate:     PreparePodForUpdate,
		Validate:             ValidatePod,
		ValidateUpdate:       ValidatePodUpdate,
		ValidateStatusUpdate: ValidatePodStatusUpdate,
	}
	const base = `
metadata: {name: web, namespace: default}
spec:
  nodeSelector: {disk: ssd}
  schedulingGates: [{name: a.io/b}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
  containers: [{name: web, image: nginx}]
`
	kind.Create(t, base)
	kind.Update(t, base,
		apitest.Case{Name: `gate removed`, Change: `spec: {schedulingGates: []}`},
		apitest.Case{Name: `confined further`, Change: `spec: {nodeSelector: {zone: a}, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}, {key: b, operator: Exists}]}]}}}}`},
		apitest.Case{Name: `selector changed`, Change: `spec: {nodeSelector: {disk: hdd}}`,
			Want: `spec.nodeSelector: Invalid value: {"disk":"hdd"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)`},
		apitest.Case{Name: `affinity widened`, Change: `spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}, {matchExpressions: [{key: b, operator: Exists}]}]}}}}`,
			Want: `spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Invalid value: [{"MatchExpressions":[{"Key":"a","Operator":"Exists","Values":null}],"MatchFields":null},{"MatchExpressions":[{"Key":"b","Operator":"Exists","Values":null}],"MatchFields":null}]: no additions/deletions to non-empty NodeSelectorTerms list are allowed`},
	)
}

func TestPodTemplate(t *testing.T) {
	kind := apitest.Kind[corev1.PodTemplate]{
		SetDefaults:    SetDefaultsPodTemplate,
		Validate:       ValidatePodTemplate,
		ValidateUpdate: ValidatePodTemplateUpdate,
	}
	const base = `
metadata: {name: t, namespace: default}
template: {metadata: {labels: {app: web}}, spec: {hostNetwork: true, containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}}
`
	kind.Create(t, base,
		apitest.Case{Name: `no image`, Change: `template: {spec: {containers: [{name: web}]}}`,
			Want: `template.spec.containers[0].image: Required value`},
		apitest.Case{Name: `other host port`, Change: `template: {spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80, hostPort: 81}]}]}}`,
			Want: "template.spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"},
		apitest.Case{Name: `ephemeral containers`, Change: `template: {spec: {ephemeralContainers: [{name: debug, image: busybox}]}}`,
			Want: `template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another image`, Change: `template: {spec: {containers: [{name: web, image: redis}]}}`},
	)
}

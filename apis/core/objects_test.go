// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in the smaller kinds of the core group: the error is the one that kube-apiserver gives.

package core

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestNamespace(t *testing.T) {
	kind := apitest.Kind[corev1.Namespace]{
		SetDefaults:          SetDefaultsNamespace,
		PrepareForCreate:     PrepareNamespaceForCreate,
		PrepareForUpdate:     PrepareNamespaceForUpdate,
		Validate:             ValidateNamespace,
		ValidateUpdate:       ValidateNamespaceUpdate,
		ValidateStatusUpdate: ValidateNamespaceStatusUpdate,
	}
	const base = `
metadata: {name: team}
status: {phase: Active}
`
	kind.Create(t, base,
		apitest.Case{Name: `bad name`, Change: `metadata: {name: team.a}`,
			Want: `metadata.name: Invalid value: "team.a": must not contain dots`},
		apitest.Case{Name: `in a namespace`, Change: `metadata: {namespace: default}`,
			Want: `metadata.namespace: Forbidden: not allowed on this type`},
		apitest.Case{Name: `finalizer without domain`, Change: `spec: {finalizers: [mine]}`,
			Want: `spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `labels`, Change: `metadata: {labels: {a: b}}`},
		apitest.Case{Name: `other name`, Change: `metadata: {name: other}`,
			Want: `metadata.name: Invalid value: "other": field is immutable`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `terminating although not deleted`, Change: `status: {phase: Terminating}`,
			Want: "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"},
	)
}

func TestNode(t *testing.T) {
	kind := apitest.Kind[corev1.Node]{
		SetDefaults:          SetDefaultsNode,
		PrepareForCreate:     PrepareNodeForCreate,
		PrepareForUpdate:     PrepareNodeForUpdate,
		Validate:             ValidateNode,
		ValidateUpdate:       ValidateNodeUpdate,
		ValidateStatusUpdate: ValidateNodeStatusUpdate,
	}
	const base = `
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/24], providerID: a://b}
status: {capacity: {cpu: "4"}}
`
	kind.Create(t, base,
		apitest.Case{Name: `taint twice`, Change: `spec: {taints: [{key: a, effect: NoSchedule}, {key: a, effect: NoSchedule}]}`,
			Want: `metadata.taints[1]: Duplicate value: {"Key":"a","Value":"","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair`},
		apitest.Case{Name: `unknown effect`, Change: `spec: {taints: [{key: a, effect: Never}]}`,
			Want: `metadata.taints[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`},
		apitest.Case{Name: `two subnets of one family`, Change: `spec: {podCIDRs: [10.1.0.0/24, 10.2.0.0/24]}`,
			Want: `spec.podCIDRs: Invalid value: ["10.1.0.0/24","10.2.0.0/24"]: may specify no more than one CIDR for each IP family`},
		apitest.Case{Name: `negative capacity`, Change: `status: {capacity: {cpu: '-1'}}`,
			Want: `[status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0, status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0]`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another subnet`, Change: `spec: {podCIDRs: [10.2.0.0/24], podCIDR: null}`,
			Want: `spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`},
		apitest.Case{Name: `another provider`, Change: `spec: {providerID: c://d}`,
			Want: `spec.providerID: Forbidden: node updates may not change providerID except from "" to valid`},
		apitest.Case{Name: `cordoned`, Change: `spec: {unschedulable: true}`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `address twice`, Change: `status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: 10.0.0.1}]}`,
			Want: `status.addresses[1]: Duplicate value: {"Type":"InternalIP","Address":"10.0.0.1"}`},
		apitest.Case{Name: `features out of order`, Change: `status: {declaredFeatures: [B, A]}`,
			Want: `status.declaredFeatures[1]: Invalid value: "A": list must be sorted alphabetically`},
	)
}

func TestConfigMap(t *testing.T) {
	kind := apitest.Kind[corev1.ConfigMap]{
		Validate:       ValidateConfigMap,
		ValidateUpdate: ValidateConfigMapUpdate,
	}
	const base = `
metadata: {name: cm, namespace: default}
data: {a: b}
immutable: true
`
	kind.Create(t, base,
		apitest.Case{Name: `bad key`, Change: `data: {'a b': c}`,
			Want: `data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`},
		apitest.Case{Name: `key in both`, Change: `binaryData: {a: AAAA}`,
			Want: `data[a]: Invalid value: "a": duplicate of key present in binaryData`},
		apitest.Case{Name: `no namespace`, Change: `metadata: {namespace: null}`,
			Want: `metadata.namespace: Required value`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `data of an immutable one`, Change: `data: {a: c}`,
			Want: "data: Forbidden: field is immutable when `immutable` is set"},
		apitest.Case{Name: `made mutable`, Change: `immutable: false`,
			Want: "immutable: Forbidden: field is immutable when `immutable` is set"},
	)
}

func TestSecret(t *testing.T) {
	kind := apitest.Kind[corev1.Secret]{
		SetDefaults:      SetDefaultsSecret,
		PrepareForUpdate: PrepareSecretForUpdate,
		Validate:         ValidateSecret,
		ValidateUpdate:   ValidateSecretUpdate,
	}
	const base = `
metadata: {name: s, namespace: default}
stringData: {a: b}
`
	kind.Create(t, base,
		apitest.Case{Name: `bad key`, Change: `data: {'a b': AAAA}`,
			Want: `data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`},
		apitest.Case{Name: `TLS without key`, Change: `{type: kubernetes.io/tls, data: {tls.crt: AAAA}}`,
			Want: `data[tls.key]: Required value`},
		apitest.Case{Name: `docker config missing`, Change: `type: kubernetes.io/dockerconfigjson`,
			Want: `data[.dockerconfigjson]: Required value`},
		apitest.Case{Name: `docker config that is no JSON`, Change: `{type: kubernetes.io/dockerconfigjson, data: {.dockerconfigjson: AAAA}}`,
			Want: "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": invalid character '\\x00' looking for beginning of value"},
		apitest.Case{Name: `login without user and password`, Change: `type: kubernetes.io/basic-auth`,
			Want: `[data[username]: Required value, data[password]: Required value]`},
		apitest.Case{Name: `SSH without key`, Change: `type: kubernetes.io/ssh-auth`,
			Want: `data[ssh-privatekey]: Required value`},
		apitest.Case{Name: `token of no account`, Change: `type: kubernetes.io/service-account-token`,
			Want: `metadata.annotations[kubernetes.io/service-account.name]: Required value`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another type`, Change: `type: kubernetes.io/tls`,
			Want: `[type: Invalid value: "kubernetes.io/tls": field is immutable, data[tls.crt]: Required value, data[tls.key]: Required value]`},
		apitest.Case{Name: `type left open`, Change: `type: null`},
	)
}

func TestServiceAccount(t *testing.T) {
	kind := apitest.Kind[corev1.ServiceAccount]{
		PrepareForCreate: PrepareServiceAccountForCreate,
		PrepareForUpdate: PrepareServiceAccountForUpdate,
		Validate:         ValidateServiceAccount,
		ValidateUpdate:   ValidateServiceAccountUpdate,
	}
	const base = `
metadata: {name: sa, namespace: default}
`
	kind.Create(t, base,
		apitest.Case{Name: `bad name`, Change: `metadata: {name: 'a b'}`,
			Want: "metadata.name: Invalid value: \"a b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"},
	)
	kind.Update(t, base,
		apitest.Case{Name: `other name`, Change: `metadata: {name: other}`,
			Want: `metadata.name: Invalid value: "other": field is immutable`},
	)
}

func TestEvent(t *testing.T) {
	kind := apitest.Kind[corev1.Event]{
		Validate:       ValidateEvent,
		ValidateUpdate: ValidateEventUpdate,
	}
	const base = `
metadata: {name: e, namespace: default}
involvedObject: {kind: Pod, name: web, namespace: default}
reason: Started
`
	kind.Create(t, base,
		apitest.Case{Name: `of another namespace`, Change: `involvedObject: {namespace: other}`,
			Want: `involvedObject.namespace: Invalid value: "other": does not match event.namespace`},
		apitest.Case{Name: `newer kind without reporter`, Change: `{eventTime: '2024-01-01T00:00:00.000000Z', action: Run, reportingInstance: x}`,
			Want: `[reportingComponent: Required value, reportingComponent: Invalid value: "": name part must be non-empty, reportingComponent: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]`},
		apitest.Case{Name: `newer kind without action`, Change: `{eventTime: '2024-01-01T00:00:00.000000Z', reportingComponent: a.io/b, reportingInstance: x}`,
			Want: `action: Required value`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another message`, Change: `message: more`},
	)
}

func TestLimitRange(t *testing.T) {
	kind := apitest.Kind[corev1.LimitRange]{
		SetDefaults:      SetDefaultsLimitRange,
		PrepareForCreate: PrepareLimitRangeForCreate,
		Validate:         ValidateLimitRange,
		ValidateUpdate:   ValidateLimitRangeUpdate,
	}
	const base = `
metadata: {name: l, namespace: default}
spec: {limits: [{type: Container, max: {cpu: "2"}, min: {cpu: 100m}, default: {cpu: "1"}, defaultRequest: {cpu: 500m}}]}
`
	kind.Create(t, base,
		apitest.Case{Name: `unknown type`, Change: `spec: {limits: [{type: Box, max: {cpu: '1'}}]}`,
			Want: `spec.limits[0].type: Invalid value: "Box": must be a standard limit type or fully qualified`},
		apitest.Case{Name: `type twice`, Change: `spec: {limits: [{type: Pod, max: {cpu: '1'}}, {type: Pod, max: {cpu: '1'}}]}`,
			Want: `spec.limits[1].type: Duplicate value: "Pod"`},
		apitest.Case{Name: `minimum above maximum`, Change: `spec: {limits: [{type: Pod, max: {cpu: '1'}, min: {cpu: '2'}}]}`,
			Want: `spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1`},
		apitest.Case{Name: `default above maximum`, Change: `spec: {limits: [{type: Container, max: {cpu: '1'}, default: {cpu: '2'}, defaultRequest: {cpu: '1'}}]}`,
			Want: `spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1`},
		apitest.Case{Name: `default of a pod`, Change: `spec: {limits: [{type: Pod, default: {cpu: '1'}}]}`,
			Want: "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"},
		apitest.Case{Name: `claim without bounds`, Change: `spec: {limits: [{type: PersistentVolumeClaim}]}`,
			Want: `spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `ratio below one`, Change: `spec: {limits: [{type: Container, maxLimitRequestRatio: {cpu: 500m}}]}`,
			Want: `spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1`},
	)
}

func TestResourceQuota(t *testing.T) {
	kind := apitest.Kind[corev1.ResourceQuota]{
		SetDefaults:          SetDefaultsResourceQuota,
		Validate:             ValidateResourceQuota,
		ValidateUpdate:       ValidateResourceQuotaUpdate,
		ValidateStatusUpdate: ValidateResourceQuotaStatusUpdate,
	}
	const base = `
metadata: {name: q, namespace: default}
spec: {hard: {pods: "10"}}
`
	kind.Create(t, base,
		apitest.Case{Name: `unknown resource`, Change: `spec: {hard: {boxes: '1'}}`,
			Want: `[spec.hard[boxes]: Invalid value: "boxes": must be a standard resource type or fully qualified, spec.hard[boxes]: Invalid value: "boxes": must be a standard resource for quota]`},
		apitest.Case{Name: `half a pod`, Change: `spec: {hard: {pods: 500m}}`,
			Want: `spec.hard[pods]: Invalid value: "500m": must be an integer`},
		apitest.Case{Name: `scopes that exclude each other`, Change: `spec: {scopes: [BestEffort, NotBestEffort]}`,
			Want: `spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes`},
		apitest.Case{Name: `scope of another resource`, Change: `spec: {hard: {requests.storage: 1Gi}, scopes: [BestEffort]}`,
			Want: `spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource`},
		apitest.Case{Name: `scope selector without values`, Change: `spec: {scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In}]}}`,
			Want: "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another scope`, Change: `spec: {scopes: [BestEffort]}`,
			Want: `spec.scopes: Invalid value: ["BestEffort"]: field is immutable`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `negative use`, Change: `status: {used: {pods: '-1'}}`,
			Want: `status.used[pods]: Invalid value: "-1": must be greater than or equal to 0`},
	)
}

func TestReplicationController(t *testing.T) {
	kind := apitest.Kind[corev1.ReplicationController]{
		SetDefaults:          SetDefaultsReplicationController,
		PrepareForCreate:     PrepareReplicationControllerForCreate,
		PrepareForUpdate:     PrepareReplicationControllerForUpdate,
		Validate:             ValidateReplicationController,
		ValidateUpdate:       ValidateReplicationControllerUpdate,
		ValidateStatusUpdate: ValidateReplicationControllerStatusUpdate,
	}
	const base = `
metadata: {name: rc, namespace: default}
spec: {selector: {app: web}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: nginx}]}}}
status: {replicas: 1}
`
	long := strings.Repeat("a", 254)
	kind.Create(t, base,
		apitest.Case{Name: `selector of others`, Change: `spec: {selector: {app: db}}`,
			Want: "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"},
		apitest.Case{Name: `a long name`, Change: `metadata: {name: ` + long + `}`,
			Want: `metadata.name: Invalid value: "` + long + `": must be no more than 253 bytes`},
		apitest.Case{Name: `no template`, Change: `spec: {template: null}`,
			Want: `spec.template: Required value`},
		apitest.Case{Name: `pods that end`, Change: `spec: {template: {spec: {restartPolicy: Never}}}`,
			Want: `spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `negative replicas`, Change: `spec: {replicas: -1}`,
			Want: `spec.replicas: Invalid value: -1: must be greater than or equal to 0`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `more ready than there are`, Change: `status: {readyReplicas: 2}`,
			Want: `status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas`},
	)
}

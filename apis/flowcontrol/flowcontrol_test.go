// SPDX-License-Identifier: Apache-2.0

package flowcontrol

import (
	"slices"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

// This file checks what users get wrong in FlowSchemas and PriorityLevelConfigurations: the error is the one that kube-apiserver gives.

func TestFlowSchema(t *testing.T) {
	kind := apitest.Kind[flowcontrolv1.FlowSchema]{
		SetDefaults: SetDefaultsFlowSchema, Validate: ValidateFlowSchema,
		ValidateUpdate: ValidateFlowSchemaUpdate, ValidateStatusUpdate: ValidateFlowSchemaStatusUpdate,
	}
	const base = `
metadata: {name: mine}
spec:
  priorityLevelConfiguration: {name: workload-low}
  distinguisherMethod: {type: ByUser}
  rules:
  - subjects: [{kind: Group, group: {name: crowd}}]
    resourceRules: [{verbs: [get, list], apiGroups: [""], resources: [pods], namespaces: [default]}]
    nonResourceRules: [{verbs: ["*"], nonResourceURLs: [/, /metrics, /api/*]}]
`
	subject := func(subject string) string {
		return `spec: {rules: [{subjects: [` + subject + `], nonResourceRules: [{verbs: ["*"], nonResourceURLs: ["*"]}]}]}`
	}
	resource := func(rule string) string {
		return `spec: {rules: [{subjects: [{kind: User, user: {name: a}}], resourceRules: [` + rule + `]}]}`
	}
	path := func(rule string) string {
		return `spec: {rules: [{subjects: [{kind: User, user: {name: a}}], nonResourceRules: [` + rule + `]}]}`
	}
	kind.Create(t, base,
		apitest.Case{Name: `precedence below zero`, Change: `spec: {matchingPrecedence: -1}`,
			Want: `spec.matchingPrecedence: Invalid value: -1: must be a positive value`},
		apitest.Case{Name: `precedence too high`, Change: `spec: {matchingPrecedence: 10001}`,
			Want: `spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000`},
		apitest.Case{Name: `precedence of the exempt`, Change: `spec: {matchingPrecedence: 1}`,
			Want: `spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1`},
		apitest.Case{Name: `unknown distinguisher`, Change: `spec: {distinguisherMethod: {type: ByMood}}`,
			Want: `spec.distinguisherMethod.type: Unsupported value: {"Type":"ByMood"}: supported values: "ByNamespace", "ByUser"`},
		apitest.Case{Name: `no level`, Change: `spec: {priorityLevelConfiguration: null}`,
			Want: `spec.priorityLevelConfiguration.name: Required value: must reference a priority level`},
		apitest.Case{Name: `no rules`, Change: `spec: {rules: null}`},
		apitest.Case{Name: `empty rule`, Change: `spec: {rules: [{subjects: []}]}`,
			Want: `[spec.rules[0].subjects: Required value: subjects must contain at least one value, spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty]`},
		apitest.Case{Name: `unknown subject`, Change: subject(`{kind: Robot}`),
			Want: `spec.rules[0].subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"`},
		apitest.Case{Name: `subject without member`, Change: subject(`{kind: User}`),
			Want: `spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'`},
		apitest.Case{Name: `subject without name`, Change: subject(`{kind: Group, group: {name: ""}}`),
			Want: `spec.rules[0].subjects[0].group.name: Required value`},
		apitest.Case{Name: `subject of two kinds`, Change: subject(`{kind: ServiceAccount, serviceAccount: {name: "*", namespace: a}, user: {name: a}}`),
			Want: `spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'`},
		apitest.Case{Name: `service account without namespace`, Change: subject(`{kind: ServiceAccount, serviceAccount: {name: a, namespace: ""}}`),
			Want: `spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account`},
		apitest.Case{Name: `unknown verb`, Change: resource(`{verbs: [look], apiGroups: ["*"], resources: ["*"], namespaces: ["*"]}`),
			Want: `spec.rules[0].resourceRules[0].verbs: Unsupported value: ["look"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"`},
		apitest.Case{Name: `all verbs and one`, Change: resource(`{verbs: ["*", get], apiGroups: ["*"], resources: ["*"], namespaces: ["*"]}`),
			Want: `spec.rules[0].resourceRules[0].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs`},
		apitest.Case{Name: `all groups and one`, Change: resource(`{verbs: [get], apiGroups: ["*", apps], resources: ["*"], namespaces: ["*"]}`),
			Want: `spec.rules[0].resourceRules[0].apiGroups: Invalid value: ["*","apps"]: if '*' is present, must not specify other api groups`},
		apitest.Case{Name: `no namespaces`, Change: resource(`{verbs: [get], apiGroups: ["*"], resources: ["*"]}`),
			Want: `spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace`},
		apitest.Case{Name: `of the cluster`, Change: resource(`{verbs: [get], apiGroups: ["*"], resources: ["*"], clusterScope: true}`)},
		apitest.Case{Name: `namespace by no name`, Change: resource(`{verbs: [get], apiGroups: ["*"], resources: ["*"], namespaces: [A]}`),
			Want: `spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: "A": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label…`},
		apitest.Case{Name: `path without slash`, Change: path(`{verbs: [get], nonResourceURLs: [metrics]}`),
			Want: `spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "metrics": must start with slash`},
		apitest.Case{Name: `path with a wildcard within`, Change: path(`{verbs: [get], nonResourceURLs: [/a*]}`),
			Want: `spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a*": wildcard can only do suffix matching`},
		apitest.Case{Name: `mandatory, but for its spec`, Change: `metadata: {name: catch-all}`, Want: `spec: Invalid value: {"PriorityLevelConfiguration":{"Name":"workload-low"},"MatchingPrecedence":1000,…`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `condition twice`, Change: `status: {conditions: [{type: Dangling}, {type: Dangling}]}`,
			Want: `status.conditions[1].type: Duplicate value: "Dangling"`},
		apitest.Case{Name: `condition without type`, Change: `status: {conditions: [{status: "True"}]}`,
			Want: `status.conditions[0].type: Required value`},
	)
}

func TestPriorityLevelConfiguration(t *testing.T) {
	kind := apitest.Kind[flowcontrolv1.PriorityLevelConfiguration]{
		SetDefaults: SetDefaultsPriorityLevelConfiguration, Validate: ValidatePriorityLevelConfiguration,
		ValidateUpdate: ValidatePriorityLevelConfigurationUpdate, ValidateStatusUpdate: ValidatePriorityLevelConfigurationStatusUpdate,
	}
	const base = `
metadata: {name: mine}
spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}
`
	queuing := func(queuing string) string { return `spec: {limited: {limitResponse: {queuing: ` + queuing + `}}}` }
	kind.Create(t, base,
		apitest.Case{Name: `no type`, Change: `spec: {type: ""}`, Want: `spec.type: Required value`},
		apitest.Case{Name: `unknown type`, Change: `spec: {type: Free}`, Want: `spec.type: Unsupported value: "Free": supported values: "Exempt", "Limited"`},
		apitest.Case{Name: `exempt`, Change: `spec: {type: Exempt, limited: null}`, Want: "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'"},
		apitest.Case{Name: `no limits`, Change: `spec: {limited: null}`, Want: `spec.limited: Required value: must not be empty when type is Limited`},
		apitest.Case{Name: `both`, Change: `spec: {exempt: {}}`, Want: `spec.exempt: Forbidden: must be nil if the type is Limited`},
		apitest.Case{Name: `shares below zero`, Change: `spec: {limited: {nominalConcurrencyShares: -1}}`,
			Want: `spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer`},
		apitest.Case{Name: `lends more than all`, Change: `spec: {limited: {lendablePercent: 101}}`,
			Want: `spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive`},
		apitest.Case{Name: `borrows less than nothing`, Change: `spec: {limited: {borrowingLimitPercent: -1}}`,
			Want: `spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer`},
		apitest.Case{Name: `rejects and queues`, Change: `spec: {limited: {limitResponse: {type: Reject}}}`,
			Want: `spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited`},
		apitest.Case{Name: `queues nowhere`, Change: queuing(`null`),
			Want: `spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited`},
		apitest.Case{Name: `hand larger than the deck`, Change: queuing(`{queues: 4}`),
			Want: `spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)`},
		apitest.Case{Name: `too many hands`, Change: queuing(`{queues: 10000000}`),
			Want: `spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 10000000 and handSize 8 should not be greater than 60`},
		apitest.Case{Name: `too many queues`, Change: queuing(`{queues: 10000001, handSize: 1}`),
			Want: `spec.limited.limitResponse.queuing.queues: Invalid value: 10000001: must not be greater than 10000000`},
		apitest.Case{Name: `annotation of an older version`, Change: `metadata: {annotations: {flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares: ""}}`,
			Want: `metadata.annotations: Forbidden: annotation 'flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares' is forbidden`},
	)
	const exempt = `
metadata: {name: exempt}
spec: {type: Exempt, exempt: {}}
`
	kind.Update(t, exempt,
		apitest.Case{Name: `lends`, Change: `spec: {exempt: {nominalConcurrencyShares: 10, lendablePercent: 50}}`},
		apitest.Case{Name: `limited`, Change: `spec: {limited: {limitResponse: {type: Reject}}}`,
			Want: `[spec.limited: Forbidden: must be nil if the type is not Limited, spec: Invalid value: {"Type":"Exempt",…`},
	)
	kind.StatusUpdate(t, base, apitest.Case{Name: `condition twice`, Change: `status: {conditions: [{type: a}, {type: a}]}`,
		Want: `status.conditions[1].type: Duplicate value: "a"`})
}

// What every server keeps is valid and has nothing left to fill in, or it would be written again for ever.
func TestBootstrapObjects(t *testing.T) {
	for _, schema := range slices.Concat(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas) {
		t.Run(schema.Name, func(t *testing.T) {
			filled := schema.DeepCopy()
			SetDefaultsFlowSchema(filled)
			apitest.Same(t, schema, filled)
			if errs := ValidateFlowSchema(filled); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
		})
	}
	for _, level := range slices.Concat(bootstrap.MandatoryPriorityLevelConfigurations, bootstrap.SuggestedPriorityLevelConfigurations) {
		t.Run(level.Name, func(t *testing.T) {
			filled := level.DeepCopy()
			SetDefaultsPriorityLevelConfiguration(filled)
			apitest.Same(t, level, filled)
			if errs := ValidatePriorityLevelConfiguration(filled); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
		})
	}
}

// Who writes the status changes nothing else of the object, and is not told that it could not be changed.
func TestStatusUpdateKeepsMetadata(t *testing.T) {
	const base = `metadata: {name: mine, uid: u, labels: {a: b}, resourceVersion: "3"}`
	before := apitest.Object[flowcontrolv1.FlowSchema](t, base)
	after := apitest.Object[flowcontrolv1.FlowSchema](t, `{metadata: {name: mine, uid: other, labels: {c: d}, managedFields: [{manager: me}]}, status: {conditions: [{type: Dangling}]}}`)
	PrepareFlowSchemaForStatusUpdate(after, before)
	apitest.Same(t, apitest.Object[flowcontrolv1.FlowSchema](t, base, `{metadata: {managedFields: [{manager: me}]}, status: {conditions: [{type: Dangling}]}}`), after)
	if after.Labels["c"] = "d"; before.Labels["c"] != "" {
		t.Error("they share their labels")
	}
}

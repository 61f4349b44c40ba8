// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in admission policies: the error is the one that kube-apiserver gives.

package admissionregistration

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestValidatingAdmissionPolicy(t *testing.T) {
	kind := apitest.Kind[admissionv1.ValidatingAdmissionPolicy]{
		SetDefaults:          SetDefaultsValidatingAdmissionPolicy,
		Validate:             ValidateValidatingAdmissionPolicy,
		ValidateUpdate:       ValidateValidatingAdmissionPolicyUpdate,
		ValidateStatusUpdate: ValidateValidatingAdmissionPolicyStatusUpdate,
	}
	const base = `
metadata: {name: replicas}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]}
  variables: [{name: count, expression: object.spec.replicas}]
  validations: [{expression: 'variables.count <= 5'}]
`
	kind.Create(t, base,
		apitest.Case{Name: `nothing to match`, Change: `spec: {matchConstraints: null}`,
			Want: `spec.matchConstraints: Required value`},
		apitest.Case{Name: `nothing to validate`, Change: `spec: {validations: null}`,
			Want: `[spec.validations: Required value: validations or auditAnnotations must contain at least one item, spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item]`},
		apitest.Case{Name: `unknown variable`, Change: `spec: {validations: [{expression: variables.x}]}`,
			Want: `spec.validations[0].expression: Invalid value: "variables.x": compilation failed: ERROR: <input>:1:10: undefined field 'x'…`},
		apitest.Case{Name: `not a condition`, Change: `spec: {variables: null, validations: [{expression: '5'}]}`,
			Want: `spec.validations[0].expression: Invalid value: "5": must evaluate to bool but got int`},
		apitest.Case{Name: `parameters of no kind`, Change: `spec: {validations: [{expression: 'params.max > 1'}]}`,
			Want: `spec.validations[0].expression: Invalid value: "params.max > 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')…`},
		apitest.Case{Name: `parameters`, Change: `spec: {paramKind: {apiVersion: example.com/v1, kind: Limit}, validations: [{expression: 'params.max > 1'}]}`},
		apitest.Case{Name: `bad kind of parameters`, Change: `spec: {paramKind: {apiVersion: a/b/c, kind: '9x y'}}`,
			Want: `[spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c, spec.paramKind.kind: Invalid value: "9x y": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')]`},
		apitest.Case{Name: `reserved name`, Change: `spec: {variables: [{name: for, expression: '1'}]}`,
			Want: `[spec.variables[0].name: Invalid value: "for": must be a valid CEL identifier, spec.validations[0].expression: Invalid value: "variables.count <= 5": compilation failed: ERROR: <input>:1:10: undefined field 'count'…`},
		apitest.Case{Name: `message of two lines`, Change: "spec: {validations: [{expression: 'true', message: \"a\\nb\"}]}",
			Want: "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks"},
		apitest.Case{Name: `unknown reason`, Change: `spec: {validations: [{expression: 'true', reason: Whim}]}`,
			Want: `spec.validations[0].reason: Unsupported value: "Whim": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"`},
		apitest.Case{Name: `message that is a number`, Change: `spec: {validations: [{expression: 'true', messageExpression: '1'}]}`,
			Want: `spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string but got int`},
		apitest.Case{Name: `annotation twice`, Change: `spec: {auditAnnotations: [{key: a, valueExpression: '"x"'}, {key: a, valueExpression: '"x"'}]}`,
			Want: `spec.auditAnnotations[1].key: Duplicate value: "a"`},
	)
	kind.StatusUpdate(t, base,
		apitest.Case{Name: `warning about nothing`, Change: `status: {typeChecking: {expressionWarnings: [{fieldRef: '', warning: ''}]}}`,
			Want: `[status.typeChecking.expressionWarnings[0].warning: Required value, status.typeChecking.expressionWarnings[0].fieldRef: Required value]`},
	)
}

func TestValidatingAdmissionPolicyBinding(t *testing.T) {
	kind := apitest.Kind[admissionv1.ValidatingAdmissionPolicyBinding]{
		SetDefaults:    SetDefaultsValidatingAdmissionPolicyBinding,
		Validate:       ValidateValidatingAdmissionPolicyBinding,
		ValidateUpdate: ValidateValidatingAdmissionPolicyBindingUpdate,
	}
	const base = `
metadata: {name: replicas}
spec: {policyName: replicas, validationActions: [Deny]}
`
	kind.Create(t, base,
		apitest.Case{Name: `no policy`, Change: `spec: {policyName: null}`,
			Want: `spec.policyName: Required value`},
		apitest.Case{Name: `no action`, Change: `spec: {validationActions: []}`,
			Want: `spec.validationActions: Required value: at least one validation action is required`},
		apitest.Case{Name: `deny and warn`, Change: `spec: {validationActions: [Deny, Warn]}`,
			Want: `spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)`},
		apitest.Case{Name: `parameters by name and selector`, Change: `spec: {paramRef: {name: a, selector: {}, parameterNotFoundAction: Deny}}`,
			Want: `[spec.paramRef.name: Forbidden: name and selector are mutually exclusive, spec.paramRef.selector: Forbidden: name and selector are mutually exclusive]`},
		apitest.Case{Name: `no parameters named`, Change: `spec: {paramRef: {}}`,
			Want: `[spec.paramRef: Required value: one of name or selector must be specified, spec.paramRef.parameterNotFoundAction: Required value]`},
	)
}

func TestMutatingAdmissionPolicy(t *testing.T) {
	kind := apitest.Kind[admissionv1.MutatingAdmissionPolicy]{
		SetDefaults:    SetDefaultsMutatingAdmissionPolicy,
		Validate:       ValidateMutatingAdmissionPolicy,
		ValidateUpdate: ValidateMutatingAdmissionPolicyUpdate,
	}
	const base = `
metadata: {name: label}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}
  reinvocationPolicy: Never
  mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"a": "b"}}}'}}]
`
	kind.Create(t, base,
		apitest.Case{Name: `nothing to do`, Change: `spec: {mutations: []}`,
			Want: `spec.mutations: Required value: mutations must contain at least one item`},
		apitest.Case{Name: `two kinds of patch`, Change: `spec: {mutations: [{patchType: JSONPatch, jsonPatch: {expression: '[JSONPatch{op: "remove", path: "/a"}]'}, applyConfiguration: {expression: 'Object{}'}}]}`,
			Want: `spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch`},
		apitest.Case{Name: `patch of the other kind`, Change: `spec: {mutations: [{patchType: JSONPatch, applyConfiguration: {expression: 'Object{}'}}]}`,
			Want: `[spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch, spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch]`},
		apitest.Case{Name: `not a patch`, Change: `spec: {mutations: [{patchType: JSONPatch, jsonPatch: {expression: '[1]'}}]}`,
			Want: `spec.mutations[0].jsonPatch.expression: Invalid value: "[1]": must evaluate to list(JSONPatch) but got list(int)`},
		apitest.Case{Name: `deletion`, Change: `spec: {matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [DELETE], resources: [pods]}]}}`,
			Want: `spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"`},
		apitest.Case{Name: `no reinvocation said`, Change: `spec: {reinvocationPolicy: null}`,
			Want: `spec.reinvocationPolicy: Required value`},
	)
}

func TestMutatingAdmissionPolicyBinding(t *testing.T) {
	kind := apitest.Kind[admissionv1.MutatingAdmissionPolicyBinding]{
		SetDefaults:    SetDefaultsMutatingAdmissionPolicyBinding,
		Validate:       ValidateMutatingAdmissionPolicyBinding,
		ValidateUpdate: ValidateMutatingAdmissionPolicyBindingUpdate,
	}
	const base = `
metadata: {name: label}
spec: {policyName: label}
`
	kind.Create(t, base,
		apitest.Case{Name: `bad policy`, Change: `spec: {policyName: A_b}`,
			Want: "spec.policyName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"},
		apitest.Case{Name: `deletion`, Change: `spec: {matchResources: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [DELETE], resources: [pods]}]}}`,
			Want: `spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"`},
	)
}

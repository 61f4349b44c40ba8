// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in webhook configurations: the error is the one that kube-apiserver gives.

package admissionregistration

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestValidatingWebhookConfiguration(t *testing.T) {
	kind := apitest.Kind[admissionv1.ValidatingWebhookConfiguration]{
		SetDefaults:    SetDefaultsValidatingWebhookConfiguration,
		Validate:       ValidateValidatingWebhookConfiguration,
		ValidateUpdate: ValidateValidatingWebhookConfigurationUpdate,
	}
	const base = `
metadata: {name: checks}
webhooks: [{name: pods.example.com, clientConfig: {service: {namespace: default, name: hook}}, sideEffects: None, admissionReviewVersions: [v1], rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}]
`
	kind.Create(t, base,
		apitest.Case{Name: `name without domain`, Change: `webhooks: [{name: pods, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1]}]`,
			Want: `webhooks[0].name: Invalid value: "pods": should be a domain with at least three segments separated by dots`},
		apitest.Case{Name: `name of a file`, Change: `metadata: {name: checks.static.k8s.io}`,
			Want: `metadata.name: Invalid value: "checks.static.k8s.io": names ending with ".static.k8s.io" are reserved for static manifest-based configurations and cannot be managed via the API`},
		apitest.Case{Name: `names twice`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1]}, {name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1]}]`,
			Want: `webhooks[1].name: Duplicate value: "a.b.c"`},
		apitest.Case{Name: `plain HTTP`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'http://a.example'}, sideEffects: None, admissionReviewVersions: [v1]}]`,
			Want: `webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]`},
		apitest.Case{Name: `neither address nor service`, Change: `webhooks: [{name: a.b.c, clientConfig: {}, sideEffects: None, admissionReviewVersions: [v1]}]`,
			Want: `webhooks[0].clientConfig: Required value: exactly one of url or service is required`},
		apitest.Case{Name: `no side effects said`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, admissionReviewVersions: [v1]}]`,
			Want: `webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun`},
		apitest.Case{Name: `some side effects`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: Some, admissionReviewVersions: [v1]}]`,
			Want: `webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`},
		apitest.Case{Name: `no review versions`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None}]`,
			Want: `webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1`},
		apitest.Case{Name: `unknown review version`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v9]}]`,
			Want: `webhooks[0].admissionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1`},
		apitest.Case{Name: `timeout too long`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1], timeoutSeconds: 31}]`,
			Want: `webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds`},
		apitest.Case{Name: `unknown failure policy`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1], failurePolicy: Retry}]`,
			Want: `webhooks[0].failurePolicy: Unsupported value: "Retry": supported values: "Fail", "Ignore"`},
		apitest.Case{Name: `everything and more`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1], rules: [{operations: ['*', CREATE], apiGroups: ['*', apps], apiVersions: ['*', v1], resources: ['*', pods, pods/*, pods/log]}]}]`,
			Want: `[webhooks[0].rules[0].operations: Invalid value: ["*","CREATE"]: if '*' is present, must not specify other operations, webhooks[0].rules[0].apiGroups: Invalid value: ["*","apps"]: if '*' is present, must not specify other API groups, webhooks[0].rules[0].apiVersions: Invalid value: ["*","v1"]: if '*' is present, must not specify other API versions, webhooks[0].rules[0].resources[3]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log, webhooks[0].rules[0].resources: Invalid value: ["*","pods","pods/*","pods/log"]: if '*' is present, must not specify other resources without subresources]`},
		apitest.Case{Name: `empty rule`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1], rules: [{}]}]`,
			Want: `[webhooks[0].rules[0].operations: Required value, webhooks[0].rules[0].apiGroups: Required value, webhooks[0].rules[0].apiVersions: Required value, webhooks[0].rules[0].resources: Required value]`},
		apitest.Case{Name: `condition that is no condition`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1], matchConditions: [{name: x, expression: '1'}]}]`,
			Want: `webhooks[0].matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int`},
		apitest.Case{Name: `condition without name`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1], matchConditions: [{expression: 'true'}]}]`,
			Want: `webhooks[0].matchConditions[0].name: Required value`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `none left`, Change: `webhooks: []`},
	)
}

func TestMutatingWebhookConfiguration(t *testing.T) {
	kind := apitest.Kind[admissionv1.MutatingWebhookConfiguration]{
		SetDefaults:    SetDefaultsMutatingWebhookConfiguration,
		Validate:       ValidateMutatingWebhookConfiguration,
		ValidateUpdate: ValidateMutatingWebhookConfigurationUpdate,
	}
	const base = `
metadata: {name: changes}
webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1]}]
`
	kind.Create(t, base,
		apitest.Case{Name: `unknown reinvocation`, Change: `webhooks: [{name: a.b.c, clientConfig: {url: 'https://a.example'}, sideEffects: None, admissionReviewVersions: [v1], reinvocationPolicy: Always}]`,
			Want: `webhooks[0].reinvocationPolicy: Unsupported value: "Always": supported values: "IfNeeded", "Never"`},
	)
}

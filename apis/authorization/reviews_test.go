// SPDX-License-Identifier: Apache-2.0

package authorization

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestSubjectAccessReview(t *testing.T) {
	apitest.Kind[authorizationv1.SubjectAccessReview]{Validate: ValidateSubjectAccessReview}.Create(t, `
spec: {user: jane, resourceAttributes: {verb: list, resource: pods, namespace: default}}
`,
		apitest.Case{Name: "groups alone", Change: `spec: {user: null, groups: [team]}`},
		apitest.Case{Name: "a path", Change: `spec: {resourceAttributes: null, nonResourceAttributes: {path: /healthz, verb: get}}`},
		apitest.Case{Name: "nobody", Change: `spec: {user: ''}`, Want: `spec.user: Invalid value: "": at least one of user or group must be specified`},
		apitest.Case{Name: "nothing", Change: `spec: {resourceAttributes: null}`,
			Want: `spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified`},
		apitest.Case{Name: "both", Change: `spec: {nonResourceAttributes: {path: /}}`,
			Want: `spec.nonResourceAttributes: Invalid value: {"Path":"/","Verb":""}: cannot be specified in combination with resourceAttributes`},
		apitest.Case{Name: "metadata", Change: `metadata: {name: a}`, Want: `metadata: Invalid value: {"name":"a"}: must be empty`},
		apitest.Case{Name: "who manages fields", Change: `metadata: {managedFields: [{manager: a}]}`},
		apitest.Case{Name: "selectors as text", Change: `spec: {resourceAttributes: {fieldSelector: {rawSelector: 'a=b'}, labelSelector: {rawSelector: 'a=b'}}}`},
		apitest.Case{Name: "selectors as requirements", Change: `spec: {resourceAttributes: {labelSelector: {requirements: [{key: a, operator: Wish}]}}}`},
		apitest.Case{Name: "selectors in both forms", Change: `spec: {resourceAttributes: {fieldSelector: {rawSelector: 'a=b', requirements: [{key: a, operator: In, values: [b]}]}}}`,
			Want: `spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements`},
		apitest.Case{Name: "selectors of nothing", Change: `spec: {resourceAttributes: {labelSelector: {}}}`,
			Want: `spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required`},
		apitest.Case{Name: "a bad requirement", Change: `spec: {resourceAttributes: {labelSelector: {requirements: [{key: a, operator: In}]}}}`,
			Want: "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"},
	)
}

func TestSelfSubjectAccessReview(t *testing.T) {
	apitest.Kind[authorizationv1.SelfSubjectAccessReview]{Validate: ValidateSelfSubjectAccessReview}.Create(t, `
spec: {nonResourceAttributes: {verb: get, path: /healthz}}
`,
		apitest.Case{Name: "nothing", Change: `spec: null`,
			Want: `spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified`},
		apitest.Case{Name: "metadata", Change: `metadata: {labels: {a: b}}`, Want: `metadata: Invalid value: {"labels":{"a":"b"}}: must be empty`},
	)
}

func TestLocalSubjectAccessReview(t *testing.T) {
	apitest.Kind[authorizationv1.LocalSubjectAccessReview]{Validate: ValidateLocalSubjectAccessReview}.Create(t, `
metadata: {namespace: default}
spec: {user: jane, resourceAttributes: {verb: list, resource: pods, namespace: default}}
`,
		apitest.Case{Name: "another namespace", Change: `spec: {resourceAttributes: {namespace: other}}`,
			Want: `spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace`},
		apitest.Case{Name: "a path", Change: `spec: {resourceAttributes: null, nonResourceAttributes: {path: /}}`,
			Want: `spec.nonResourceAttributes: Invalid value: {"Path":"/","Verb":""}: disallowed on this kind of request`},
		apitest.Case{Name: "a name", Change: `metadata: {name: a}`, Want: `metadata: Invalid value: {"name":"a","namespace":"default"}: must be empty except for namespace`},
	)
}

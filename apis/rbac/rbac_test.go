// SPDX-License-Identifier: Apache-2.0

// This file checks what users get wrong in roles and bindings: the error is the one that kube-apiserver gives.

package rbac

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestRole(t *testing.T) {
	kind := apitest.Kind[rbacv1.Role]{
		Validate:       ValidateRole,
		ValidateUpdate: ValidateRoleUpdate,
	}
	const base = `
metadata: {name: "system:reader", namespace: default}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`
	kind.Create(t, base,
		apitest.Case{Name: `name with a slash`, Change: `metadata: {name: a/b}`,
			Want: `metadata.name: Invalid value: "a/b": may not contain '/'`},
		apitest.Case{Name: `no verbs`, Change: `rules: [{apiGroups: [''], resources: [pods]}]`,
			Want: `rules[0].verbs: Required value: verbs must contain at least one value`},
		apitest.Case{Name: `no groups and resources`, Change: `rules: [{verbs: [get]}]`,
			Want: `[rules[0].apiGroups: Required value: resource rules must supply at least one api group, rules[0].resources: Required value: resource rules must supply at least one resource]`},
		apitest.Case{Name: `URLs`, Change: `rules: [{nonResourceURLs: [/healthz], verbs: [get]}]`,
			Want: `rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `more verbs`, Change: `rules: [{apiGroups: [''], resources: [pods], verbs: [get, list]}]`},
	)
}

func TestClusterRole(t *testing.T) {
	kind := apitest.Kind[rbacv1.ClusterRole]{
		Validate:       ValidateClusterRole,
		ValidateUpdate: ValidateClusterRoleUpdate,
	}
	const base = `
metadata: {name: reader}
rules: [{nonResourceURLs: [/healthz], verbs: [get]}]
`
	kind.Create(t, base,
		apitest.Case{Name: `URLs and resources`, Change: `rules: [{nonResourceURLs: [/healthz], resources: [pods], verbs: [get]}]`,
			Want: `rules[0].nonResourceURLs: Invalid value: ["/healthz"]: rules cannot apply to both regular resources and non-resource URLs`},
		apitest.Case{Name: `aggregation of nothing`, Change: `aggregationRule: {}`,
			Want: `aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `no verbs`, Change: `rules: [{nonResourceURLs: [/healthz]}]`,
			Want: `rules[0].verbs: Required value: verbs must contain at least one value`},
	)
}

func TestRoleBinding(t *testing.T) {
	kind := apitest.Kind[rbacv1.RoleBinding]{
		SetDefaults:    SetDefaultsRoleBinding,
		Validate:       ValidateRoleBinding,
		ValidateUpdate: ValidateRoleBindingUpdate,
	}
	const base = `
metadata: {name: b, namespace: default}
roleRef: {kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: default}, {kind: User, name: ann}]
`
	kind.Create(t, base,
		apitest.Case{Name: `no role name`, Change: `roleRef: {name: null}`,
			Want: `roleRef.name: Required value`},
		apitest.Case{Name: `unknown kind of role`, Change: `roleRef: {kind: Job}`,
			Want: `roleRef.kind: Unsupported value: "Job": supported values: "Role", "ClusterRole"`},
		apitest.Case{Name: `unknown kind of subject`, Change: `subjects: [{kind: Robot, name: x}]`,
			Want: `subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"`},
		apitest.Case{Name: `account of a group`, Change: `subjects: [{kind: ServiceAccount, name: x, apiGroup: rbac.authorization.k8s.io}]`,
			Want: `subjects[0].apiGroup: Unsupported value: "rbac.authorization.k8s.io": supported values: ""`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another role`, Change: `roleRef: {name: edit}`,
			Want: `roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"edit"}: cannot change roleRef`},
	)
}

func TestClusterRoleBinding(t *testing.T) {
	kind := apitest.Kind[rbacv1.ClusterRoleBinding]{
		SetDefaults:    SetDefaultsClusterRoleBinding,
		Validate:       ValidateClusterRoleBinding,
		ValidateUpdate: ValidateClusterRoleBindingUpdate,
	}
	const base = `
metadata: {name: b}
roleRef: {kind: ClusterRole, name: view}
subjects: [{kind: Group, name: team}]
`
	kind.Create(t, base,
		apitest.Case{Name: `role of a namespace`, Change: `roleRef: {kind: Role}`,
			Want: `roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`},
		apitest.Case{Name: `account without namespace`, Change: `subjects: [{kind: ServiceAccount, name: x}]`,
			Want: `subjects[0].namespace: Required value`},
	)
	kind.Update(t, base,
		apitest.Case{Name: `another role`, Change: `roleRef: {name: edit}`,
			Want: `roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"edit"}: cannot change roleRef`},
	)
}

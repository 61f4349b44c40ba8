// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestWarnings(t *testing.T) {
	apitest.Warnings(t, `allowedTopologies: [{matchLabelExpressions: [{key: topology.kubernetes.io/zone}]}]`, WarningsStorageClass,
		apitest.Warned{Name: "label", Change: `allowedTopologies: [{matchLabelExpressions: [{key: beta.kubernetes.io/os}]}]`,
			Want: []string{`allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use "kubernetes.io/os" instead`}})
	apitest.Warnings(t, `nodeTopology: {matchLabels: {a: b}}`, WarningsCSIStorageCapacity,
		apitest.Warned{Name: "labels", Change: `nodeTopology: {matchExpressions: [{key: beta.kubernetes.io/arch}], matchLabels: {node-role.kubernetes.io/master: ""}}`, Want: []string{
			`nodeTopology.matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead`,
			`nodeTopology.matchLabels.node-role.kubernetes.io/master: use "node-role.kubernetes.io/control-plane" instead`}})
	apitest.Warnings(t, `spec: {tokenRequests: [{audience: a}], serviceAccountTokenInSecrets: false}`, WarningsCSIDriver,
		apitest.Warned{Name: "tokens", Change: `spec: {serviceAccountTokenInSecrets: null}`,
			Want: []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}})
}

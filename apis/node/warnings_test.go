// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"

	"github.com/hivemind-project/hivemind/apis/apitest"
)

func TestWarnings(t *testing.T) {
	apitest.Warnings(t, `{handler: h, scheduling: {nodeSelector: {kubernetes.io/os: linux}}}`, WarningsRuntimeClass,
		apitest.Warned{Name: "label", Change: `scheduling: {nodeSelector: {beta.kubernetes.io/os: linux}}`, Want: []string{`scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead`}})
}

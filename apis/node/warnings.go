// SPDX-License-Identifier: Apache-2.0

package node

import (
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hivemind-project/hivemind/apis/check"
	"github.com/hivemind-project/hivemind/apis/core"
)

// WarningsRuntimeClass returns what is to be said about a runtime class that is valid but selects nodes by labels that have been replaced.
func WarningsRuntimeClass(c, _ *nodev1.RuntimeClass) []string {
	var w check.Warnings
	if c.Scheduling != nil {
		for key := range c.Scheduling.NodeSelector {
			if message := core.DeprecatedNodeLabel(key); message != "" {
				w.At(field.NewPath("scheduling", "nodeSelector"), "%s", message)
			}
		}
	}
	return w.Texts()
}

// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
)

// identity tells whether the user is a node's agent, and of which node: one of the group system:nodes called
// system:node:<name>. The name may be empty, which nothing is granted to.
func identity(u user.Info) (name string, isNode bool) {
	if u == nil {
		return "", false
	}
	name, ok := strings.CutPrefix(u.GetName(), "system:node:")
	if !ok || !slices.Contains(u.GetGroups(), user.NodesGroup) {
		return "", false
	}
	return name, true
}

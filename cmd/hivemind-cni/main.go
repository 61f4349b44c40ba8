// SPDX-License-Identifier: Apache-2.0

// Command hivemind-cni is the CNI plugin that containerd executes for every pod. It is a program of its own because it
// is started anew each time: it must be small to be quick.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/hivemind-project/hivemind/pkg/network/cni"
)

func main() {
	skel.PluginMainFuncs(cni.Funcs(), version.All, "hivemind-cni attaches pods to the bridge of a Hivemind node")
}

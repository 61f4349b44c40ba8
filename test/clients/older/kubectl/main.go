// SPDX-License-Identifier: Apache-2.0

// Command kubectl is stock kubectl built from its own module: what `hivemind kubectl` runs, and what tests call.
// Its start costs 30 ms and 46 MB, which is why it is a program of its own and not linked into hivemind.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // credential plugins, as in stock kubectl
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	// Flags are parsed only once the command runs, but plugins and kuberc are read before that, and log.
	if _, err := logs.GlogSetter(cmd.GetLogVerbosity(os.Args)); err != nil {
		cmdutil.CheckErr(err)
	}
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		cmdutil.CheckErr(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package clients drives one Hivemind with the clients that people have, none of them changed or told: stock kubectl and stock client-go, the
// newest and those of two minors earlier, stock Helm 3 and 4, and an operator made with controller-runtime.
//
// kubectl and Helm follow the scripts in testdata, a directory a tool; commands.go has the commands that the scripts use beside theirs. Each
// script runs once for each version, in a namespace of its own, at the same time as others. Those in testdata/alone change the node or the server
// and have the cluster to themselves. `make clients` builds what is needed and runs everything.
//
// With HIVEMIND_TEST_KUBECONFIG the clients go to another cluster, which shows whether a script expects what stock Kubernetes does.
package clients

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// shared is the cluster of this run.
var shared *cluster

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	shared, err = start(context.Background())
	if err == nil {
		code = m.Run()
	}
	if e := shared.close(); err == nil {
		err = e
	}
	return code, err
}

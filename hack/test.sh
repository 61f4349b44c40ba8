#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# All tests: those beside the code, several packages at once; then those of the node agent's parts with a real containerd; then
# those in test/, which start clusters with real containers and have the machine to themselves. They find stock kubectl and
# helm on PATH, bin/hivemind in the tree, and the programs it carries in HIVEMIND_TEST_BIN. Then the
# example for users, a module of its own. Last, the conformance tests that are pinned. Clients of other versions are make clients'.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PWD/build/tools:$PATH"
beside=$(go list ./... | grep -v "/hivemind/test\(/\|$\)")
# shellcheck disable=SC2086 # one word a package
go test -timeout 15m $beside
HIVEMIND_TEST_BIN="$PWD/build/stage" go test -tags grpcnotrace,containers -timeout 15m -count 1 -p 1 ./kubelet-lite ./kubelet-lite/{containerd,server,stats,logs}
if [ -d test ]; then
	go test -tags grpcnotrace,e2e -timeout 30m -count 1 -p 1 ./test/...
fi
go -C examples/operator test -timeout 5m ./...
go -C test/upstream test -timeout 5m -count 1 ./policy # default roles beside stock's
go run ./test/conformance -set pinned -fresh -timeout 2m

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# All tests: those beside the code, several packages at once; then those in test/, which start clusters with real
# containers and have the machine to themselves. They find stock kubectl and helm on PATH and bin/hivemind in the tree.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PWD/build/tools:$PATH"
beside=$(go list ./... | grep -v "/hivemind/test\(/\|$\)")
# shellcheck disable=SC2086 # one word a package
go test -timeout 15m $beside
if [ -d test ]; then
	go test -tags e2e -timeout 30m -count 1 -p 1 ./test/...
fi

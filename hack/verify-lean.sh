#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Fails if something in hivemindd looks methods up by a name that is not a constant: the linker then keeps every method of every type,
# 20 MB, and each page of the program that is touched costs resident memory.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
go build -modfile build/hivemindd.mod -ldflags '-s -w -dumpdep' -o "$out/hivemindd" ./cmd/hivemindd 2>"$out/dependencies" || {
	tail -n 20 "$out/dependencies"
	exit 1
}
if grep -F '<ReflectMethod>' "$out/dependencies" | head -n 5 | grep .; then
	echo 'these look methods up by name, so that hivemindd keeps all of them: leave out what calls them (the arrows above lead from caller to callee)'
	exit 1
fi

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every fuzz target in the tree, one at a time, each for FUZZTIME (30s). What a target finds is kept below testdata/fuzz beside it, where plain
# `go test` runs it again: mend it, and keep it or a test in words. A runaway is held by the limit of address space.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${FUZZTIME:-30s}
only=${TARGET:-.}
ulimit -v $((32 << 20)) # KiB
failed=()
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "fuzz $target of $package for $time"
	go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -parallel "${PARALLEL:-2}" || failed+=("$package $target")
done < <(grep -rHoE --include='*_test.go' '^func Fuzz\w+' apis cmd controllers kubelet-lite pkg | sed 's/:func /:/' | sort | grep -E "$only" || true)
if [ ${#failed[@]} -gt 0 ]; then
	printf 'fuzz: %s failed; what it was given is in testdata/fuzz\n' "${failed[@]}" >&2
	exit 1
fi
echo "fuzz: nothing found"

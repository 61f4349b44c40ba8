#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Fails if hivemindd can look methods up by reflection, which keeps every method of every type in it (hack/lean.sh says
# what that costs), or if it links a package that has no place in a daemon; and shows what brings it in.
set -euo pipefail
cd "$(dirname "$0")/.."

make --no-print-directory build/lean.mod
dep=$(mktemp) program=$(mktemp)
trap 'rm -f "$dep" "$program"' EXIT
CGO_ENABLED=0 go build -modfile=build/lean.mod -tags grpcnotrace -trimpath -buildvcs=false -ldflags '-s -w -dumpdep' \
	-o "$program" ./cmd/hivemindd >"$dep" 2>&1 || { tail -20 "$dep"; exit 1; }

# Each line reads "user -> used <Attribute>"; the linker prints one for each symbol, when it is first reached. What is
# reached after the first <ReflectMethod> is its consequence, so one path at a time is what there is to show.
awk -F ' -> ' -v banned='^(text/template|html/template|net/http/pprof|expvar|golang.org/x/net/trace|github.com/spf13/cobra)[.]' '
	function plain(symbol) { gsub(/ <[A-Za-z]+>/, "", symbol); return symbol }
	function path(symbol) { while (symbol != "" && symbol != "_" && depth++ < 40) { print "  " symbol; symbol = user[symbol] } }
	NF == 2 {
		used = plain($2)
		if (!(used in user)) user[used] = plain($1)
		if ($2 ~ /<ReflectMethod>/) {
			print "hivemindd reaches reflection over methods, which switches dead-code elimination off:"
			path(used)
			exit 1
		}
		if (used ~ banned) {
			print "hivemindd links a package that has no place in a daemon:"
			path(used)
			exit 1
		}
	}' "$dep"
echo "hivemindd is lean: $(stat -c %s "$program" | numfmt --to=iec) with dead-code elimination"

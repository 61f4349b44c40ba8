#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Writes build/lean.mod: go.mod, with one line of one dependency changed, for the link of hivemindd alone.
#
# Go's linker drops methods that nothing calls, unless the program can look methods up at run time: one reachable call of
# reflect's Method keeps every exported method of every type. etcd's server brings one in, through a self-check (off
# unless ETCD_VERIFY is set) that prints a difference with go-cmp, which names the methods of anonymous interfaces.
# Without that call hivemindd's file is a third smaller and its resident memory about 18 MB less. A module in the module
# cache cannot be overlaid, so a copy of go-cmp with that call replaced takes its place; hack/verify-lean.sh checks
# the result. Plain `go build ./cmd/hivemindd` works too, and gives the larger program.
set -euo pipefail
cd "$(dirname "$0")/.."

module=github.com/google/go-cmp
source=$(go list -m -f '{{.Dir}}' "$module")
[ -n "$source" ] || { go mod download "$module"; source=$(go list -m -f '{{.Dir}}' "$module"); }

copy=build/go-cmp
rm -rf "$copy" && mkdir -p build && cp -r "$source" "$copy" && chmod -R u+w "$copy"
find "$copy" -name '*_test.go' -delete
sed -i 's/m := t\.Method(i)/m := reflect.Method{Name: "method", Type: anyType}/' "$copy/cmp/internal/value/name.go"

cp go.sum build/lean.sum
cp go.mod build/lean.mod.new
go mod edit -replace "$module=$PWD/$copy" build/lean.mod.new
mv build/lean.mod.new build/lean.mod

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fails when a generated file is not what hack/update-codegen.sh writes.
set -eu
cd "$(dirname "$0")/.."

hack/update-codegen.sh
if ! git diff --exit-code --stat -- '*zz_generated*'; then
	echo "generated files are behind their sources: run hack/update-codegen.sh and commit what it writes" >&2
	exit 1
fi

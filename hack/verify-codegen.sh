#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Fails if a generated file is not what hack/update-codegen.sh makes of today's sources.
set -euo pipefail
cd "$(dirname "$0")/.."

generated() { git ls-files -co --exclude-standard -- '*zz_generated*' | sort | xargs -r sha256sum; }
before=$(generated)
hack/update-codegen.sh
if ! changed=$(diff <(echo "$before") <(generated)); then
	printf 'generated files were out of date, and are current now: commit them\n%s\n' "$changed"
	exit 1
fi

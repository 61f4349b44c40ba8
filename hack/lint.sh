#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# All that is checked without running anything. The linters are dependencies of hack/tools, a module of its own, so that
# their versions do not bend those of the programs. The first run type-checks every dependency; later ones are cached.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=0
complain() { # what is wrong, then the files on standard input
	local list
	list=$(cat)
	[ -z "$list" ] && return
	printf '%s:\n%s\n' "$1" "$list" | sed '2,$s/^/  /'
	failed=1
}
sources() { git ls-files -co --exclude-standard -- "$@"; }

sources '*.go' | xargs -r gofmt -l | complain "not formatted (mend: gofmt -w)"
sources '*.go' '*.sh' '*.c' '*.txtar' | xargs -r grep -L -m1 'SPDX-License-Identifier: Apache-2.0' | complain "without the line SPDX-License-Identifier: Apache-2.0"
sources '*.go' '*.sh' '*.c' Makefile | xargs -r grep -nE '\b(TODO|FIXME|XXX)\b' | grep -v '^hack/lint.sh:' | complain "left undone"
find . -name '*.go' -not -path './build/*' -print0 | xargs -0 awk 'FNR == 1 { n = 0 } { n++ } n == 601 && FILENAME !~ /zz_generated|_test\.go$/ { print FILENAME }' |
	complain "longer than 600 lines: tell one story a file"

go -C hack/tools build -o ../../build/tools/ ./arrows honnef.co/go/tools/cmd/staticcheck || exit 1
build/tools/arrows ./... || failed=1
for module in . examples/operator test/clients test/clients/older; do
	go -C "$module" vet ./... || failed=1
	(cd "$module" && "$OLDPWD/build/tools/staticcheck" ./...) || failed=1
done
exit $failed

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what a build needs beyond git, Go and a C compiler, from Debian's packages, if this machine lacks it.
# libseccomp is linked into runc, which compiles system call filters with it. Says nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

need=$(sed -n 's/^go //p' go.mod)
if ! command -v go >/dev/null; then
	echo "Go is not installed: get go$need or later, and put its bin directory on PATH" >&2
	exit 1
fi
have=$(GOTOOLCHAIN=local go env GOVERSION)
if [ "$(printf '%s\n' "$need" "${have#go}" | sort -V | head -1)" != "$need" ]; then
	echo "$have is too old: get go$need or later" >&2
	exit 1
fi

missing=()
command -v "${CC:-cc}" >/dev/null || missing+=(gcc libc6-dev)
command -v git >/dev/null || missing+=(git)
command -v pkg-config >/dev/null || missing+=(pkg-config)
pkg-config --exists libseccomp 2>/dev/null || missing+=(libseccomp-dev)
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
	echo "install what these Debian packages hold: ${missing[*]}" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "only root can install packages: sudo apt-get install ${missing[*]}" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
	cat "$log" >&2
	exit 1
fi

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# lint.sh: golangci-lint for Go, clang-format for C, shellcheck for scripts. Changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
	echo "lint: $*" >&2
	exit 1
}

hack/tools/build.sh lint
"$(hack/tools/build.sh --bin-dir)/golangci-lint" run ./...

command -v clang-format-19 >/dev/null || die "clang-format-19 is missing: hack/deps.sh installs it"
mapfile -t sources < <(git ls-files 'bpf/*.c' 'bpf/*.h' 'hack/bench/*.c')
[ ${#sources[@]} -eq 0 ] || clang-format-19 --dry-run --Werror "${sources[@]}"

command -v shellcheck >/dev/null || die "shellcheck is missing: hack/deps.sh installs it"
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
shellcheck --external-sources --severity=warning "${scripts[@]}"

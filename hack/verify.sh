#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# verify.sh: what was generated is what the sources say, everything is well-formed and compiles under every build tag,
# and the tree is clean with nothing untracked. To add a check, add a line to main.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { # NAME COMMAND...
	local start=$SECONDS
	echo "verify: $1"
	"${@:2}"
	echo "verify: $1 took $((SECONDS - start)) s"
}

tests_compile() {
	local tags
	for tags in root integration e2e; do go vet -tags "$tags" ./...; done
}

clean_tree() {
	local changed
	changed=$(git status --porcelain)
	[ -z "$changed" ] && return
	echo "verify: the tree is not clean: commit what was generated or left behind, or ignore it" >&2
	echo "$changed" >&2
	git --no-pager diff --stat >&2
	return 1
}

main() {
	step "generating" hack/generate.sh
	step "comparing go.mod with the imports" go mod tidy -diff
	step "linting" hack/lint.sh
	step "vetting, tests of all kinds included" tests_compile
	step "looking for a clean tree" clean_tree
}

main

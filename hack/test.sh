#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# test.sh [STEP...]: all tests, or the named steps, in order. Every step runs even when an earlier one failed; the
# output of each is in dist/test/STEP.log, what failed is shown. Ends with counts, and with 1 if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
LOGS=dist/test
STEPS=(verify unit bpf integration kernels e2e)

deps() { hack/deps.sh; }
tools() { hack/tools/build.sh; }
verify() { hack/verify.sh; }
# The race detector needs cgo, and so gcc, which deps installs; "make test-unit" alone is to need nothing but Go.
unit() { make test-unit "GOTEST=go test -race -v"; }
bpf() { make test-bpf "GOTEST=go test -v"; }
integration() { make test-integration "GOTEST=go test -v"; }
kernels() { make test-kernels V=-v; }
e2e() {
	hack/demo/demo.sh && make e2e
	local result=$?
	make demo-down || result=1
	return $result
}

count() { # RESULT LOG...: of Go's tests, subtests included
	cat "${@:2}" 2>/dev/null | grep -cE "^ *--- $1" || true
}

minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

run() { # STEP: the last lines of a failure are on the terminal, the rest in the log
	local step=$1 start=$SECONDS result=ok log=$LOGS/$1.log
	printf 'test: %-12s ' "$step"
	"$step" >"$log" 2>&1 </dev/null || result=FAILED
	printf '%-7s %6s min   passed %4d, failed %d, skipped %d\n' "$result" "$(minutes $((SECONDS - start)))" \
		"$(count PASS "$log")" "$(count FAIL "$log")" "$(count SKIP "$log")"
	[ "$result" = ok ] && return
	grep -nE '^ *--- FAIL|^FAIL|^panic:|^#' "$log" | tail -40
	tail -60 "$log"
	echo "test: the whole output is in $log"
	return 1
}

main() {
	local step failed=()
	[ $# -gt 0 ] || set -- "${STEPS[@]}"
	rm -rf "$LOGS"
	mkdir -p "$LOGS"
	for step in deps tools; do run "$step" || exit 1; done
	for step in "$@"; do
		declare -F "$step" >/dev/null || { echo "test: no step $step; steps: ${STEPS[*]}" >&2 && exit 2; }
		run "$step" || failed+=("$step")
	done
	printf 'tests: %d passed, %d failed, %d skipped\n' \
		"$(count PASS "$LOGS"/*.log)" "$(count FAIL "$LOGS"/*.log)" "$(count SKIP "$LOGS"/*.log)"
	printf 'test: %d steps in %s min' $# "$(minutes $SECONDS)"
	[ ${#failed[@]} -eq 0 ] && echo "; all steps ok" && return
	echo "; failed steps: ${failed[*]}"
	return 1
}

main "$@"

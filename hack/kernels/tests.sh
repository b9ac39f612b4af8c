#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# tests.sh FOLDER [PACKAGE...]: builds the tests that need root of the given packages (all that have some below bpf and
# internal/datapath) as static binaries, and packs them with their testdata into FOLDER/tests.cpio. RUN selects tests as
# go test's -run does. Ends with 1 when a package did not build, after packing the others.
set -euo pipefail
FOLDER=${1:?usage: tests.sh FOLDER [PACKAGE...]}
cd "$(dirname "$0")/../.."

with_root_tests() {
	grep -rlE --include='*_test.go' '^//go:build (.* )?root( |$)' bpf internal/datapath | xargs -r dirname | LC_ALL=C sort -u
}

# build PACKAGE: tests run in the folder of their package, as go test has it.
build() {
	local to=$FOLDER/root/tests/$1 before=$FOLDER/built/${1//\//-}.test
	CGO_ENABLED=0 go test -c -tags root -ldflags '-s -w' -o "$before" "./$1" || return 1
	mkdir -p "$to"
	ln "$before" "$to/test"
	[ ! -d "$1/testdata" ] || cp -r "$1/testdata" "$to/"
	echo "$1 -test.v -test.timeout 40m${RUN:+ -test.run $RUN}" >>"$FOLDER/root/tests/list"
}

main() {
	local package failed=0 packages=("$@")
	rm -rf "$FOLDER/root"
	mkdir -p "$FOLDER/root/tests" "$FOLDER/built"
	: >"$FOLDER/root/tests/list"
	[ $# -gt 0 ] || mapfile -t packages < <(with_root_tests)
	for package in "${packages[@]}"; do
		build "${package#./}" || { echo "kernels: the tests of $package did not build" >&2 && failed=1; }
	done
	(cd "$FOLDER/root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$FOLDER/tests.cpio"
	rm -rf "$FOLDER/root"
	return $failed
}

shift
main "$@"

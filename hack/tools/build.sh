#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# Builds the pinned third-party programs that tests and the cluster use.
#
#   hack/tools/build.sh                  everything but the linter and what recipes have on demand
#   hack/tools/build.sh NAME...          families (a folder here) or single programs (kube-apiserver, etcd, …)
#   hack/tools/build.sh --bin-dir        prints the folder that holds one link for each program
#
# A program is kept under the hash of what decides its bytes, so a warm call only compares hashes, a changed pin
# rebuilds one family, and a killed build leaves nothing behind that looks finished.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${CILIATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ciliate}
BIN=$CACHE/bin
DEFAULT=(kubernetes etcd containerd runc cni coredns)
FAMILIES=("${DEFAULT[@]}" lint)

die() {
	echo "tools: $*" >&2
	exit 1
}

# recipe FAMILY: loads the family's recipe into mains, names, ondemand (names that are built only when named), cgo, tags,
# ldflags, needs.
recipe() {
	mains=() names=() ondemand=() needs=() cgo=0 tags="" ldflags=""
	# shellcheck source=/dev/null
	. "$HERE/$1/recipe.sh"
	[ ${#names[@]} -gt 0 ] || names=("${mains[@]##*/}")
}

# store FAMILY: the folder of this family's programs.
store() {
	local hash
	# A family may have a main of its own.
	hash=$(cd "$HERE/$1" && { cat go.mod go.sum recipe.sh && { [ ! -e main.go ] || cat main.go; } && echo "$GO_VERSION"; } | sha256sum)
	echo "$CACHE/tools/$1-${hash:0:16}"
}

# require: every need is "COMMAND-OR-FILE DEBIAN-PACKAGE".
require() {
	local need what
	for need in "${needs[@]}"; do
		what=${need% *}
		[ -e "$what" ] || command -v "$what" >/dev/null ||
			die "$what is missing: install the Debian package ${need##* } (hack/deps.sh installs them all)"
	done
}

# compile FAMILY NAME PACKAGE OUT: NAME.test is the package's tests. Vetting them would take minutes, and is upstream's.
compile() {
	local start=$SECONDS tmp how=(build)
	[[ $2 != *.test ]] || how=(test -c -vet=off)
	tmp=$(mktemp "$4.XXXXXX")
	printf 'tools: building %-28s ' "$2" >&2
	if ! (cd "$HERE/$1" && CGO_ENABLED=$cgo GOFLAGS=-buildvcs=false GOWORK=off \
		nice go "${how[@]}" -trimpath -tags "$tags" -ldflags "$ldflags" -o "$tmp" "$3") >"$4.log" 2>&1 9>&-; then
		echo failed >&2
		cat "$4.log" >&2
		rm -f "$tmp" "$4.log"
		die "building $2 failed"
	fi
	chmod 755 "$tmp"
	mv "$tmp" "$4"
	rm -f "$4.log"
	echo "$((SECONDS - start)) s" >&2
}

# locked FAMILY NAME PACKAGE OUT: one compilation at a time, since two would only do the shared packages twice.
# The lock is given back between programs: who waits for kubectl must not wait for everything.
locked() {
	require
	mkdir -p "${4%/*}"
	flock -n 9 || { echo "tools: waiting for another build" >&2 && flock 9; }
	if [ ! -x "$4" ]; then compile "$@"; fi
	flock -u 9
}

# link NAME TARGET: one rename, so that a reader never misses the name.
link() {
	[ "$(readlink "$BIN/$1" 2>/dev/null)" = "$2" ] && return
	ln -s "$2" "$BIN/.$1.$$"
	mv -T "$BIN/.$1.$$" "$BIN/$1"
}

# build FAMILY [NAME]: all of a family's programs, or one.
build() {
	local dir i name
	recipe "$1"
	dir=$(store "$1")
	for i in "${!mains[@]}"; do
		name=${names[i]}
		[ "$name" = "${2:-}" ] || { [ -z "${2:-}" ] && [[ " ${ondemand[*]} " != *" $name "* ]]; } || continue
		if [ ! -x "$dir/$name" ]; then locked "$1" "$name" "${mains[i]}" "$dir/$name"; fi
		link "$name" "$dir/$name"
	done
}

# family_of NAME: the family that builds a program.
family_of() {
	local f n
	for f in "${FAMILIES[@]}"; do
		recipe "$f"
		for n in "${names[@]}"; do [ "$n" != "$1" ] || { echo "$f" && return; }; done
	done
	die "nothing here is called $1; families: ${FAMILIES[*]}"
}

main() {
	[ "${1:-}" != --bin-dir ] || { echo "$BIN" && return; }
	command -v go >/dev/null || die "go is missing: install Go 1.26.6 or newer"
	GO_VERSION=$(go env GOVERSION GOARCH)
	mkdir -p "$BIN" "$CACHE/tools"
	exec 9>"$CACHE/tools/.lock"
	local want
	[ $# -gt 0 ] || set -- "${DEFAULT[@]}"
	for want in "$@"; do
		if [ -d "$HERE/$want" ]; then build "$want"; else build "$(family_of "$want")" "$want"; fi
	done
}

main "$@"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# load.sh IMAGE.tar...: imports images into every running node that has not that very file yet.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/node.sh"

main() {
	local tar node pids=() pid
	[ $# -gt 0 ] || die "usage: load.sh IMAGE.tar..."
	for tar in "$@"; do
		[ -s "$tar" ] || die "no image $tar"
		tar=$(realpath "$tar")
		[[ $tar == "$CACHE"/* ]] || die "$tar: nodes see only images below $CACHE"
		begin "Loading ${tar##*/}"
		pids=()
		for node in $NODES; do
			import "$node" "$tar" &
			pids+=($!)
		done
		for pid in "${pids[@]}"; do wait "$pid" || die "import ${tar##*/} failed"; done
		done_
	done
}

need_root
main "$@"

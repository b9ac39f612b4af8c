#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# down.sh: ends every process of the cluster and removes all it made. Nothing of it is left but built tools and images.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/network.sh"
. "$HERE/control-plane.sh"
. "$HERE/node.sh"

main() {
	local name node path pid pids=()
	lock
	begin "Ending the cluster"
	# Every node that ever was, not only those of the settings.
	for path in "$RUN"/nodes/*/; do
		[ -d "$path" ] || continue
		node=${path%/}
		node_off "${node##*/}" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || die "a node would not end"; done
	# KILL: an API server asked politely drains for ten seconds, and all data is thrown away.
	for name in "${OUTSIDE[@]}"; do end "$name" KILL 10; done
	for path in "$(netns "")"*; do
		[ ! -e "$path" ] || ip netns del "${path##*/}"
	done
	rm -rf "$RUN" "$CACHE/cluster/.${PFX%-}.lock"
	rmdir "$CACHE/cluster" 2>/dev/null || true # another cluster may be there
	done_
}

need_root
main "$@"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# status.sh: what runs. Exits 0 when everything of the cluster does, 1 otherwise.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/control-plane.sh"

BAD=0

line() { # NAME STATE: anything but "ok" is bad
	printf '%-28s %s\n' "$1" "$2"
	[ "$2" = ok ] || BAD=1
}

state() { # NAME
	if ! alive "$1"; then
		echo "not running"
	elif ! healthy "$1" >/dev/null 2>&1; then
		echo "runs, does not serve"
	else
		echo ok
	fi
}

main() {
	local name node
	[ -d "$RUN" ] || { echo "no cluster (prefix ${PFX})" && exit 1; }
	for name in "${OUTSIDE[@]}"; do line "$name" "$(state "$name")"; done
	for node in $NODES; do
		alive "$node" || { line "$node" "not running" && continue; }
		for name in $NODE_DAEMONS; do
			if node_daemon "$node" status "$name"; then line "$node $name" ok; else line "$node $name" "not running"; fi
		done
	done
	healthy kube-apiserver && { echo && kc get nodes -o wide; }
	exit $BAD
}

need_root
main "$@"

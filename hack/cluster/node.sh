# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash

# Switching a node on and off. Its disk ($RUN/nodes/NAME/disk) outlives that; memory, /run, bpffs, namespaces,
# devices, routes and cgroups do not.

# node_on NODE: starts the node's first process, which starts containerd and the kubelet (node-init.sh).
node_on() {
	local dir=$RUN/nodes/$1
	if ! wired "$1"; then node_off "$1"; fi # runs, but half dead
	alive "$1" && return
	node_off "$1"
	mkdir -p "$dir"/{ovl,disk/{kubelet,containerd,log,etc-cni,opt-cni}} "$LOGS" "$PIDS"
	[ -e "$LOGS/$1" ] || ln -sfn "../nodes/$1/disk/log" "$LOGS/$1"
	ensure_host "$1" "$(host_number "$1")"
	spawn "$1" "$dir/disk/log/init.log" env CILIATE_CACHE="$CACHE" PFX="$PFX" bash "$HERE/node-launch.sh" "$1"
}

wired() { # NODE: false only when it runs without its eth0
	! alive "$1" || in_ns "$1" ip link show eth0 >/dev/null 2>&1
}

# node_off NODE: as if the plug were pulled. Nothing of it runs, and nothing of its network is left, when this returns.
node_off() {
	local pid1
	pid1=$(node_pid1 "$1" || true)
	# unshare dies, --kill-child takes PID 1 with it, and the kernel every process of that pid namespace.
	end "$1" KILL 10
	[ -z "$pid1" ] || wait_for 30 "the last process of $1" test ! -e "/proc/$pid1"
	drop_ns "$1"
	drop_cgroups "$1"
	rm -f "$PIDS/$1"
}

# drop_cgroups NODE: leaf first; a group can only go when its last process has been reaped.
drop_cgroups() {
	local list=$RUN/nodes/$1/cgroups
	[ -s "$list" ] || return 0
	wait_for 20 "the cgroups of $1 to empty" remove_cgroups "$list"
	rm -f "$list"
}
remove_cgroups() { # LIST
	local group left=0
	while read -r group; do
		[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
		[ ! -d "$group" ] || left=1
	done <"$1"
	return $left
}

# node_serves NODE: containerd, kubelet and the images are there; the kubelet may wait for the API server.
node_serves() {
	node_daemon "$1" status containerd && node_daemon "$1" status kubelet && node_exec "$1" test -e /run/node/images
}
node_registered() { kc get node "$1" -o name; }

# import NODE TAR: into the node's image store, unless that very file was imported before.
import() {
	local mark=/var/lib/containerd/.imported-${2##*/} sum
	sum=$(sha256sum <"$2")
	# shellcheck disable=SC2016 # the node's shell expands it
	node_exec "$1" sh -c '
		[ "$(cat "$1" 2>/dev/null)" != "$2" ] || exit 0
		"$4/ctr" -n k8s.io images import "$3" >/dev/null && echo "$2" >"$1"
	' import "$mark" "$sum" "$2" "$BIN"
}

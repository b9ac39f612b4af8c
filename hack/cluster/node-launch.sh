#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# node-launch.sh NODE: moves itself into cgroups of the node's own, then into namespaces of the node's own, and
# becomes the process whose death is the node's death. Called by node_on (node.sh).
#
# Tested: hybrid cgroups (controllers on version 1, version 2 beside it in /sys/fs/cgroup/unified).
# Written for, but not tested on this kind of machine: pure version 2 (stock Debian).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# cgroup_dir LINE...: the folder of the caller's group for one line of /proc/self/cgroup.
cgroup_dir() {
	local controllers=$1 path=${2%/}
	case $controllers in
	'') if [ -d /sys/fs/cgroup/unified ]; then echo "/sys/fs/cgroup/unified$path"; else echo "/sys/fs/cgroup$path"; fi ;;
	name=*) echo "/sys/fs/cgroup/${controllers#name=}$path" ;;
	*) echo "/sys/fs/cgroup/$controllers$path" ;;
	esac
}

join() { # GROUP RECORD
	echo $$ >"$1/cgroup.procs"
	echo "$1" >>"$2"
}

main() {
	local node=$1 record=$RUN/nodes/$1/cgroups lines line controllers path parent group
	: >"$record"
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		# Version 2 lets no group hold both processes and controlled children: a group at the top, since the caller's
		# own is full of processes, and a child "init" for what is not a pod's. The node sees the first as its root.
		group=/sys/fs/cgroup/$(ns "$node")
		mkdir -p "$group/init"
		for line in $(<"$group/cgroup.controllers"); do echo "+$line" >"$group/cgroup.subtree_control"; done
		echo $$ >"$group/cgroup.procs"
		echo "$group" >"$record"
	else
		mapfile -t lines </proc/self/cgroup # as a whole: moving rewrites it
		for line in "${lines[@]}"; do
			IFS=: read -r _ controllers path <<<"$line"
			parent=$(cgroup_dir "$controllers" "$path")
			[ -d "$parent" ] || continue
			group=$parent/$(ns "$node")
			mkdir -p "$group"
			# A fresh cpuset has no CPU and takes no process.
			[[ ,$controllers, != *,cpuset,* ]] || {
				cat "$parent/cpuset.cpus" >"$group/cpuset.cpus"
				cat "$parent/cpuset.mems" >"$group/cpuset.mems"
			}
			join "$group" "$record"
		done
	fi
	exec nsenter --net="$(netns "$node")" \
		unshare --mount --uts --ipc --pid --cgroup --fork --kill-child bash "$HERE/node-init.sh" "$node"
}

main "$@"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# daemon.sh {start|stop|kill|pause|resume|status} NAME [NODE]: one daemon of the cluster.
#   without NODE: etcd kube-apiserver kube-controller-manager kube-scheduler world forward
#   with NODE:    containerd kubelet kube-proxy (PROXY_MODE=nftables|iptables)
# stop is TERM and kill is KILL; both return when the process is gone. start returns when it serves (the kubelet: when
# it runs). pause and resume are SIGSTOP and SIGCONT. status exits 0 when the process runs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/control-plane.sh"

outside() { # ACTION NAME
	[[ " ${OUTSIDE[*]} " == *" $2 "* ]] || die "no daemon \"$2\" outside the nodes; there are: ${OUTSIDE[*]}"
	case $1 in
	start)
		start_daemon "$2"
		wait_for 60 "$2 to serve" healthy "$2"
		;;
	stop) end "$2" TERM 60 ;;
	kill) end "$2" KILL 10 ;;
	pause) signal "$2" STOP ;;
	resume) signal "$2" CONT ;;
	status) alive "$2" ;;
	*) die "\"$1\" is none of start, stop, kill, pause, resume, status" ;;
	esac
}

need_root
[ $# -ge 2 ] || die "usage: daemon.sh {start|stop|kill|pause|resume|status} NAME [NODE]"
if [ -n "${3:-}" ]; then
	need_node "$3"
	node_daemon "$3" "$1" "$2"
else
	outside "$1" "$2"
fi

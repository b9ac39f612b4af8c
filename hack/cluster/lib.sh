# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash disable=SC2034 # sourced by every script here

# Settings of a cluster, and the bookkeeping of its processes.
#
#   PFX       names of namespaces and cgroups begin with it; two clusters need two   (ciliate-)
#   NODES     node1 … nodeN                                                          (node1 node2)
#   IPFAMILY  dual, ipv4 or ipv6: what Kubernetes is told; the wires carry both      (dual)
#   PORT      loopback port of the API server in the machine's own namespace         (16443)
#   NETWORK   ciliate: the nodes wait for it; kube-proxy: what it is compared to      (ciliate)

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
PATH=/usr/local/sbin:/usr/sbin:/sbin:$PATH

CACHE=${CILIATE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ciliate}
BIN=$CACHE/bin
IMAGES=$CACHE/images
PFX=${PFX:-ciliate-}
RUN=$CACHE/cluster/${PFX%-}
PKI=$RUN/pki KCFG=$RUN/kubeconfigs PIDS=$RUN/pids LOGS=$RUN/logs
KUBECONFIG_FILE=$RUN/kubeconfig

# What an earlier "up" was told holds until "down".
setting() { # NAME DEFAULT
	local saved=$RUN/settings/$1
	if [ -z "${!1:-}" ] && [ -s "$saved" ]; then read -r "${1?}" <"$saved"; fi
	[ -n "${!1:-}" ] || printf -v "$1" %s "$2"
}
setting NODES "node1 node2"
setting IPFAMILY dual
setting PORT 16443
setting NETWORK ciliate
# What kube-proxy programs, as each start of it is told.
PROXY_MODE=${PROXY_MODE:-nftables}
NODE_DAEMONS="containerd kubelet"
case $NETWORK in
ciliate) ;;
kube-proxy) NODE_DAEMONS+=" kube-proxy" ;;
*) echo "cluster: NETWORK is \"$NETWORK\"; it may be ciliate or kube-proxy" >&2 && exit 1 ;;
esac

UNDERLAY4=172.18.0 UNDERLAY6=fd00:172:18:
WORLD4=192.0.2 WORLD6=2001:db8:
CP4=$UNDERLAY4.2 CP6=$UNDERLAY6:2
PAUSE=ciliate/pause:3.10.2
SVC4=10.96 SVC6=fd00:10:96:
DNS_IP=$SVC4.0.10
case $IPFAMILY in
dual) SVC_CIDR=$SVC4.0.0/16,$SVC6:/112 POD_CIDR=10.244.0.0/16,fd00:10:244::/56 CP_IP=$CP4 ;;
ipv4) SVC_CIDR=$SVC4.0.0/16 POD_CIDR=10.244.0.0/16 CP_IP=$CP4 ;;
ipv6) SVC_CIDR=$SVC6:/112 POD_CIDR=fd00:10:244::/56 CP_IP=$CP6 DNS_IP=$SVC6:a ;;
*) echo "cluster: IPFAMILY is \"$IPFAMILY\"; it may be dual, ipv4 or ipv6" >&2 && exit 1 ;;
esac
case $CP_IP in *:*) API=https://[$CP_IP]:6443 ;; *) API=https://$CP_IP:6443 ;; esac

# --- talking ---

die() {
	[ -z "${STEP:-}" ] || echo failed >&2
	echo "cluster: $*" >&2
	exit 1
}
fail() { # as die, but leaves the end to the caller, who may wait for better times
	echo "cluster: $*" >&2
	return 1
}
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
begin() { # what happens now; done_ ends the line with the time it took
	STEP=$1 STEP_START=$(now_ms)
	printf 'cluster: %-44s ' "$1"
}
done_() {
	local ms=$(($(now_ms) - STEP_START))
	STEP=
	printf '%d.%d s\n' $((ms / 1000)) $((ms % 1000 / 100))
}
wait_for() { # SECONDS WHAT COMMAND...: until the command succeeds; dies naming what it waited for
	local end=$(($(now_ms) + $1 * 1000)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt "$end" ] || die "waited in vain for $what (logs: $LOGS)"
		sleep 0.1
	done
}
need_root() { [ "$(id -u)" = 0 ] || die "must run as root: it makes namespaces, mounts and cgroups"; }
need_node() { # NAME: a node of this cluster
	[[ " $NODES " == *" ${1:-} "* ]] || die "no node \"${1:-}\" here; nodes: $NODES"
}
lock() { # one up, down, node-start or node-stop at a time
	mkdir -p "$CACHE/cluster"
	exec 9>"$CACHE/cluster/.${PFX%-}.lock"
	flock -w 600 9 || die "another call holds the cluster's lock for ten minutes"
}

# --- processes: recorded as "pid starttime", so that a reused pid is never taken for ours ---

starttime() { # empty for a zombie without threads: it is dead and its ports are free, only its parent has not looked yet
	awk '{ sub(/^.*\) /, ""); if ($1 != "Z" || $18 > 1) print $20 }' "/proc/$1/stat" 2>/dev/null || true
}
pid_of() { # NAME: the live process of that record
	local pid start
	[ -s "$PIDS/$1" ] && read -r pid start <"$PIDS/$1" || return 1
	[ -n "$start" ] && [ "$(starttime "$pid")" = "$start" ] && echo "$pid"
}
alive() { pid_of "$1" >/dev/null; }
spawn() { # NAME LOG COMMAND...: as a daemon in its own session, unless it runs already
	local name=$1 log=$2
	shift 2
	alive "$name" && return
	setsid nohup "$@" >>"$log" 2>&1 </dev/null 9>&- &
	echo "$! $(starttime $!)" >"$PIDS/.$name" && mv "$PIDS/.$name" "$PIDS/$name"
}
signal() { # NAME SIGNAL
	local pid
	pid=$(pid_of "$1") || fail "$1 is not running" || return
	kill "-$2" "$pid"
}
gone() { ! alive "$1"; }
end() { # NAME SIGNAL SECONDS: signals, waits, and falls back to KILL
	local i
	alive "$1" || return 0
	signal "$1" "$2" 2>/dev/null || true # it may have died just now
	for ((i = 0; i < $3 * 10; i++)); do
		gone "$1" && return
		sleep 0.1
	done
	signal "$1" KILL 2>/dev/null || true
	wait_for 10 "the end of $1" gone "$1"
}

# --- names and addresses ---

ns() { echo "$PFX$1"; }
netns() { echo "/run/netns/$PFX$1"; }
in_ns() { # NAMESPACE COMMAND...
	local path
	path=$(netns "$1")
	shift
	nsenter --net="$path" "$@"
}
host_number() { # node7 -> 17, the last part of its addresses, whatever other nodes there are
	[[ $1 =~ ^node([1-9][0-9]?)$ ]] || die "node names are node1 … node99, not \"$1\""
	echo $((BASH_REMATCH[1] + 10))
}
node_ip4() { echo "$UNDERLAY4.$(host_number "$1")"; }
node_ip6() { echo "$UNDERLAY6:$(host_number "$1")"; }
node_ips() { # as the kubelet's --node-ip wants them
	case $IPFAMILY in
	dual) echo "$(node_ip4 "$1"),$(node_ip6 "$1")" ;;
	ipv4) node_ip4 "$1" ;;
	ipv6) node_ip6 "$1" ;;
	esac
}
kc() { in_ns cp "$BIN/kubectl" --kubeconfig="$KCFG/admin" "$@"; }
api_ready() { [ "$(kc get --raw /readyz --request-timeout=2s 2>/dev/null)" = ok ]; }

# --- a node, seen from outside ---

node_pid1() {
	local pid
	pid=$(pid_of "$1") && awk '{ print $1 }' "/proc/$pid/task/$pid/children"
}
node_exec() { # NODE COMMAND...: as a process of the node, cgroups included (else cgroup BPF does not see it)
	local node=$1 pid1
	pid1=$(node_pid1 "$node") && [ -n "$pid1" ] || fail "$node is not running" || return
	shift
	(
		while read -r group; do echo "$BASHPID" >"$group/cgroup.procs"; done <"$RUN/nodes/$node/cgroups"
		exec nsenter --target "$pid1" --mount --uts --ipc --net --pid --cgroup -- "$@"
	)
}
node_daemon() { # NODE ACTION NAME
	node_exec "$1" env HOME=/root XDG_CACHE_HOME= CILIATE_CACHE="$CACHE" PFX="$PFX" PROXY_MODE="$PROXY_MODE" \
		bash "$HERE/node-daemon.sh" "$1" "$2" "$3"
}

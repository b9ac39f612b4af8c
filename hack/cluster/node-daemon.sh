#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# node-daemon.sh NODE {start|stop|kill|pause|resume|status} {containerd|kubelet|kube-proxy}: run inside the node.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2034 # lib.sh reads them
PIDS=/run/node LOGS=/var/log # the node's own
PATH=$BIN:$PATH

# Without CAP_SYS_RESOURCE nothing can lower an oom_score_adj, and runc would fail every sandbox trying to.
restrict_oom() {
	local caps
	caps=$(awk '/^CapEff/ { print $2 }' /proc/self/status)
	if ((0x$caps >> 24 & 1)); then echo false; else echo true; fi
}

containerd_config() {
	cat <<EOF
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "$PAUSE"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = $(restrict_oom)
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "$BIN/runc"
  SystemdCgroup = false
EOF
}

# taint: pods may come only when the node's Ciliate agent serves.
taint() { [ "$NETWORK" != ciliate ] || echo "{key: node.cilium.io/agent-not-ready, effect: NoSchedule}"; }

kubelet_config() { # NODE
	cat <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-server-$1.crt
tlsPrivateKeyFile: $PKI/kubelet-server-$1.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
registerWithTaints: [$(taint)]
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: ["$DNS_IP"]
clusterDomain: cluster.local
resolvConf: /etc/kubernetes/resolv.conf
staticPodPath: /etc/kubernetes/manifests
maxPods: 250
# Tests kill the same container again and again; minutes between its lives would only be waited for.
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
serializeImagePulls: false
# The disk is the machine's, and its fill level not the cluster's business.
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
EOF
}

start_containerd() {
	containerd_config >/etc/containerd/config.toml
	spawn containerd "$LOGS/containerd.log" "$BIN/containerd" --config /etc/containerd/config.toml
	wait_for 60 "containerd to answer" ctr version
}

start_kubelet() { # NODE
	kubelet_config "$1" >/etc/kubernetes/kubelet.yaml
	spawn kubelet "$LOGS/kubelet.log" "$BIN/kubelet" --config=/etc/kubernetes/kubelet.yaml \
		--kubeconfig="$KCFG/kubelet-$1" --hostname-override="$1" --node-ip="$(node_ips "$1")" --v=2
}

kube_proxy_config() { # NODE
	cat <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $KCFG/kube-proxy}
mode: $PROXY_MODE
clusterCIDR: $POD_CIDR
hostnameOverride: $1
# Its limits are the machine's, which is not this node's to change.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
}

start_kube_proxy() { # NODE
	kube_proxy_config "$1" >/etc/kubernetes/kube-proxy.yaml
	spawn kube-proxy "$LOGS/kube-proxy.log" "$BIN/kube-proxy" --config=/etc/kubernetes/kube-proxy.yaml --v=2
}

main() {
	local node=$1 action=$2 name=$3
	[[ " $NODE_DAEMONS " == *" $name "* ]] || die "no daemon \"$name\" in a node; there are: $NODE_DAEMONS"
	case $action in
	start) "start_${name//-/_}" "$node" ;;
	stop) end "$name" TERM 20 ;;
	kill) end "$name" KILL 1 ;;
	pause) signal "$name" STOP ;;
	resume) signal "$name" CONT ;;
	status) alive "$name" ;;
	*) die "\"$action\" is none of start, stop, kill, pause, resume, status" ;;
	esac
}

main "$@"

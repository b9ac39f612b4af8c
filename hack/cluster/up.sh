#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# up.sh: a Kubernetes cluster on this machine, without a CNI and without kube-proxy: its nodes wait for Ciliate. With
# NETWORK=kube-proxy they have the bridge plugin and kube-proxy instead.
# Idempotent: on a running cluster a quick look, on a half-dead one a repair. Settings: lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/check.sh"
. "$HERE/network.sh"
. "$HERE/pki.sh"
. "$HERE/control-plane.sh"
. "$HERE/node.sh"
. "$HERE/bridge.sh"

# save_settings: for every other script. A node once made stays one: up adds nodes, down removes them.
save_settings() {
	local name known=""
	mkdir -p "$RUN/settings"
	[ ! -s "$RUN/settings/NODES" ] || known=$(<"$RUN/settings/NODES")
	for name in $known; do [[ " $NODES " == *" $name "* ]] || NODES+=" $name"; done
	for name in NODES IPFAMILY PORT NETWORK; do echo "${!name}" >"$RUN/settings/$name"; done
}

# refuse_change: what a running API server was told cannot be changed under it.
refuse_change() {
	local was name
	[ "$NETWORK" = ciliate ] || [ "$IPFAMILY" = ipv4 ] || die "with NETWORK=$NETWORK only IPFAMILY=ipv4 is written"
	alive kube-apiserver || return 0
	for name in IPFAMILY NETWORK; do
		was=$(cat "$RUN/settings/$name" 2>/dev/null) || continue # an older up had no such setting
		[ "$was" = "${!name}" ] || die "the running cluster is $was, not ${!name}: take it down first"
	done
}

build() {
	"$REPO/hack/tools/build.sh"
	[ "$NETWORK" != kube-proxy ] || "$REPO/hack/tools/build.sh" loopback bridge host-local kube-proxy
	"$REPO/hack/image/build.sh" "$IMAGES" test
	(cd "$REPO" && GOFLAGS=-buildvcs=false CGO_ENABLED=0 go build -trimpath -o "$RUN/forward.new" ./hack/cluster/forward)
	cmp -s "$RUN/forward.new" "$RUN/forward" || mv "$RUN/forward.new" "$RUN/forward"
	rm -f "$RUN/forward.new"
}

wire() {
	local node
	ensure_fabric
	ensure_host cp 2
	ensure_world
	for node in $NODES; do ensure_host "$node" "$(host_number "$node")"; done
}

control_plane() {
	local name
	start_daemon etcd
	start_daemon kube-apiserver
	wait_for 60 "the API server to be ready" healthy kube-apiserver
	for name in kube-controller-manager kube-scheduler world; do start_daemon "$name"; done
	start_daemon forward
}

repair_nodes() { # a node that runs must have its daemons
	local node
	for node in $NODES; do
		node_exec "$node" test -e /run/node/images || continue # still starting
		node_daemon "$node" start containerd
		node_daemon "$node" start kubelet
	done
}

main() {
	local name node
	for node in $NODES; do host_number "$node" >/dev/null; done
	lock
	refuse_change
	check_machine
	save_settings
	build
	begin "Making certificates"
	ensure_pki
	done_
	begin "Wiring namespaces"
	wire
	done_
	# Nodes first: containerd and the image import take as long as the control plane.
	begin "Switching on $NODES"
	for node in $NODES; do node_on "$node"; done
	done_
	begin "Starting the control plane"
	control_plane
	for name in "${OUTSIDE[@]}"; do wait_for 30 "$name to serve" healthy "$name"; done
	done_
	begin "Waiting for images, containerd and kubelet"
	repair_nodes
	for node in $NODES; do wait_for 180 "$node to have its daemons and images" node_serves "$node"; done
	done_
	begin "Waiting for the nodes to register"
	for node in $NODES; do wait_for 60 "$node to register" node_registered "$node"; done
	wait_for 30 "the default service account" kc get serviceaccount default
	done_
	[ "$NETWORK" != kube-proxy ] || bridge_nodes
	cat <<EOF

  export KUBECONFIG=$KUBECONFIG_FILE     # plain kubectl; one is $BIN/kubectl
  ${HERE#"$PWD"/}/exec.sh ${NODES%% *} bash     # a shell in a node
  logs: $LOGS

EOF
}

need_root
main "$@"

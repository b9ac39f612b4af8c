# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash

# What Ciliate is compared to (NETWORK=kube-proxy): the bridge plugin, a route from each node to the pods of the others, and
# kube-proxy. IPv4 alone.

bridge_nodes() {
	local node
	begin "Joining pods by bridges, starting kube-proxy"
	for node in $NODES; do
		wait_for 30 "a range for the pods of $node" pod_range "$node"
		bridge_node "$node" "$(pod_range "$node")"
		node_daemon "$node" start kube-proxy
	done
	kc wait --for=condition=Ready node --all --timeout=60s >/dev/null || die "the nodes do not get ready (logs: $LOGS)"
	done_
}

pod_range() { kc get node "$1" -o jsonpath='{.spec.podCIDR}' | grep .; } # NODE

bridge_node() { # NODE RANGE
	local other
	for other in cp $NODES; do
		[ "$other" = "$1" ] || ip -n "$(ns "$other")" route replace "$2" via "$(node_ip4 "$1")"
	done
	node_exec "$1" cp "$BIN"/{bridge,host-local,loopback} /opt/cni/bin/
	# A rename, so that containerd never reads half of it.
	conflist "$2" | node_exec "$1" sh -c 'cat >/etc/cni/net.d/.new && mv /etc/cni/net.d/.new /etc/cni/net.d/10-bridge.conflist'
}

conflist() { # RANGE
	cat <<EOF
{
  "cniVersion": "1.0.0", "name": "bridge", "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "$1"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
EOF
}

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# demo.sh: a real Kubernetes cluster on this machine, Ciliate on it, and a walk through what it does. Every step prints
# its command and what came out, and the first that is not true ends the demo. Repeatable; leaves the cluster up.
# demo.sh up: without the walk.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
HACK=$(dirname "$HERE")
export VERSION=dev PFX=${PFX:-ciliate-} # as hack/cluster/lib.sh
# shellcheck source=hack/demo/walk.sh
. "$HERE/walk.sh"

setup() {
	title "Set up: packages, pinned tools, the cluster, images"
	timed "Debian packages" "$HACK/deps.sh"
	timed "Kubernetes, etcd, containerd and runc from pinned modules" "$HACK/tools/build.sh"
	timed "control plane and nodes" "$HACK/cluster/up.sh"
	BIN=$("$HACK/tools/build.sh" --bin-dir)
	IMAGES=$(dirname "$BIN")/images
	export PATH=$BIN:$PATH KUBECTL=$BIN/kubectl
	KUBECONFIG=$(dirname "$BIN")/cluster/${PFX%-}/kubeconfig
	export KUBECONFIG
	timed "images of cilium-agent and cilium-operator" "$HACK/image/build.sh" "$IMAGES" product
	timed "images into the nodes" "$HACK/cluster/load.sh" "$IMAGES/cilium-agent.tar" "$IMAGES/cilium-operator.tar" "$IMAGES/coredns.tar"
}

deploy() {
	title "Install Ciliate: the preflight, then one kubectl apply -k"
	"$HACK/deploy.sh" "$HERE/overlay"
	restart_old_images
	kubectl apply -f "$HERE/coredns.yaml"
}

# restart_old_images: an image of the same name was loaded again, and running pods have the old one.
restart_old_images() {
	local stamp was
	stamp=$(cat "$IMAGES/cilium-agent.tar" "$IMAGES/cilium-operator.tar" | sha256sum | cut -c1-16)
	was=$(kubectl -n kube-system get configmap ciliate-demo -o jsonpath='{.data.images}' --ignore-not-found)
	if [ -n "$was" ] && [ "$was" != "$stamp" ]; then
		kubectl -n kube-system rollout restart deployment/cilium-operator daemonset/cilium
		kubectl -n kube-system rollout status deployment/cilium-operator --timeout=120s
		kubectl -n kube-system rollout status daemonset/cilium --timeout=180s
	fi
	kubectl -n kube-system create configmap ciliate-demo --from-literal=images="$stamp" --dry-run=client -o yaml |
		kubectl apply -f - >/dev/null
}

main() {
	local start=$SECONDS
	[ "$(id -u)" = 0 ] || die "this needs root: it makes network namespaces and mounts"
	setup
	deploy
	[ "${1:-}" != up ] || return 0
	walk
	title "All of it is true ($((SECONDS - start)) s). The cluster stays up:"
	cat <<-END
		  export KUBECONFIG=$KUBECONFIG
		  export PATH=$BIN:\$PATH        # for kubectl
		  kubectl get ciliumendpoints -A -o wide
		  hack/cluster/exec.sh node1 bash                # into a node
		  make demo-down                                 # remove every trace
	END
}

main "$@"

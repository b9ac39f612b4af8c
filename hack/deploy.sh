#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# deploy.sh OVERLAY: installs Ciliate with one apply of a kustomization that gives the API server's address, and waits
# until it serves. Repeatable.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/kubectl.sh"

die() {
	echo "deploy: $*" >&2
	exit 1
}

main() {
	local overlay=${1:?usage: deploy.sh OVERLAY} host
	[ -f "$overlay/kustomization.yaml" ] || die "$overlay holds no kustomization.yaml"
	host=$(k kustomize "$overlay" | sed -n 's/^  KUBERNETES_SERVICE_HOST: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p')
	[ -n "$host" ] || die "$overlay gives no API server address: patch KUBERNETES_SERVICE_HOST of the ConfigMap" \
		"cilium-apiserver, as hack/demo/overlay does"
	"$HERE/preflight/preflight.sh"
	k apply -k "$overlay"
	k -n kube-system rollout status deployment/cilium-operator --timeout=120s
	k -n kube-system rollout status daemonset/cilium --timeout=300s
}

main "$@"

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# bench.sh [add|path|services|kube-proxy|programs|memory|restart|sizes]...: measures the named parts, or all but kube-proxy, on
# clusters of hack/cluster and writes them into docs/performance.md. Brings the cluster and Ciliate up if they are not there;
# the one with kube-proxy is made for its part, and goes with it.
#
#   PFX, PORT  of the cluster with Ciliate, as hack/cluster/lib.sh; the other's are PFXkube-proxy- and PORT + 1000
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
export PFX=${PFX:-ciliate-} NETWORK=ciliate

die() {
	echo "bench: $*" >&2
	exit 1
}

# use: the cluster of PFX is the one to measure.
use() { export KUBECONFIG=$CACHE/cluster/${PFX%-}/kubeconfig; }

measure() { # PART...
	# Without its signals a system call lasts as long as it was told to, and the threads that measure are left alone.
	GODEBUG=asyncpreemptoff=1 BENCH_REPO=$REPO BENCH_IMAGES=${BENCH_IMAGES:-$CACHE/images} "$CACHE/bench/bench-${PFX%-}" "$@"
}

build() {
	# In the cache folder, which the nodes see too.
	mkdir -p "$CACHE/bench"
	(cd "$REPO" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -o "$CACHE/bench/bench-${PFX%-}" ./hack/bench)
}

ciliate() { # PART...
	use
	kubectl -n kube-system rollout status daemonset/cilium --timeout=120s >/dev/null 2>&1 ||
		"$REPO/hack/demo/demo.sh" up >&2 || die "there is no cluster to measure"
	build
	measure "$@"
}

kube_proxy() (
	export PORT=$((${PORT:-16443} + 1000)) NETWORK=kube-proxy IPFAMILY=ipv4 NODES=node1
	PFX+=kube-proxy-
	use
	trap '"$REPO/hack/cluster/down.sh"' EXIT
	"$REPO/hack/cluster/up.sh" >&2 || die "there is no cluster to measure"
	build
	measure kube-proxy
)

main() {
	local bin part parts=() compare=no
	[ "$(id -u)" = 0 ] || die "this needs root: it enters network namespaces"
	bin=$("$REPO/hack/tools/build.sh" --bin-dir)
	CACHE=$(dirname "$bin")
	export PATH=$bin:$PATH
	for part; do
		case $part in kube-proxy) compare=yes ;; *) parts+=("$part") ;; esac
	done
	if [ $# = 0 ] || [ ${#parts[@]} -gt 0 ]; then ciliate "${parts[@]}"; fi
	if [ $compare = yes ]; then kube_proxy; fi
}

main "$@"

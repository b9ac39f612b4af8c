#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# bench.sh [add|path|programs|memory|restart|sizes]...: measures the named parts, or all, on the cluster of hack/cluster and
# writes them into docs/performance.md. Brings the cluster and Ciliate up if they are not there.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
export PFX=${PFX:-ciliate-} # as hack/cluster/lib.sh

die() {
	echo "bench: $*" >&2
	exit 1
}

main() {
	local bin cache
	[ "$(id -u)" = 0 ] || die "this needs root: it enters network namespaces"
	bin=$("$REPO/hack/tools/build.sh" --bin-dir)
	cache=$(dirname "$bin")
	export KUBECONFIG=$cache/cluster/${PFX%-}/kubeconfig PATH=$bin:$PATH
	kubectl -n kube-system rollout status daemonset/cilium --timeout=120s >/dev/null 2>&1 ||
		"$REPO/hack/demo/demo.sh" || die "there is no cluster to measure"
	# In the cache folder, which the nodes see too.
	mkdir -p "$cache/bench"
	(cd "$REPO" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -o "$cache/bench/bench-${PFX%-}" ./hack/bench)
	BENCH_REPO=$REPO BENCH_IMAGES=${BENCH_IMAGES:-$cache/images} exec "$cache/bench/bench-${PFX%-}" "$@"
}

main "$@"

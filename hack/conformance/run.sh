#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# run.sh: upstream's e2e specs of Kubernetes, on the cluster of hack/cluster with this tree's Ciliate and CoreDNS; brings up
# what is missing. What they said, spec by spec, is in dist/conformance. Ends with counts, and with 1 if anything failed.
#
#   FOCUS    regular expression of the specs to run           (\[sig-network\].*\[Conformance\])
#   SKIP     … of those to leave out, besides skip.txt        (nothing)
#   PROCS    how many run at once; serial ones come last      (4)
#   TIMEOUT  for all of them                                  (2h)
#   NODES    of the cluster, added if it has fewer            (node1 node2 node3)
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
HACK=$(dirname "$HERE")
OUT=$(dirname "$HACK")/dist/conformance
# As hack/cluster/lib.sh; some specs leave themselves out where there are fewer nodes.
export PFX=${PFX:-ciliate-} NODES=${NODES:-node1 node2 node3}
FOCUS=${FOCUS:-'\[sig-network\].*\[Conformance\]'}
SKIP=${SKIP:-} PROCS=${PROCS:-4} TIMEOUT=${TIMEOUT:-2h}

die() {
	echo "conformance: $*" >&2
	exit 1
}

timed() { # WHAT COMMAND...: the command's own output only when it fails
	local what=$1 start=$SECONDS log
	shift
	log=$(mktemp)
	printf 'conformance: %-56s ' "$what"
	"$@" >"$log" 2>&1 || { echo failed && cat "$log" >&2 && rm -f "$log" && die "$what: $* failed"; }
	rm -f "$log"
	echo "$((SECONDS - start)) s"
}

ready() {
	kubectl wait --for=condition=Ready node --all --timeout=120s
	kubectl -n kube-system rollout status deployment/coredns --timeout=120s
}

# route_pods: the API server proxies to pods, and its namespace is no node of the pod network. Where that is so, somebody
# gives it routes; here it is us.
route_pods() {
	local range node
	while read -r range node; do
		"$HACK/cluster/exec.sh" cp ip route replace "$range" via "$node"
	done < <(kubectl get ciliumnodes -o json | jq -r -f "$HERE/routes.jq")
}

# skipped: the patterns of skip.txt and of SKIP as one.
skipped() { { grep -v '^[[:space:]#]' "$HERE/skip.txt" && echo "$SKIP"; } | grep . | paste -sd'|'; }

# run: all that the specs say goes to e2e.log, one line for each that ended to the terminal.
run() {
	"$HACK/cluster/exec.sh" cp env PATH="$PATH" KUBE_TEST_REPO_LIST="$HERE/images.yaml" \
		ginkgo -v --silence-skips --no-color --procs="$PROCS" --timeout="$TIMEOUT" --focus="$FOCUS" --skip="$(skipped)" \
		--output-dir="$OUT" --json-report=report.json "$BIN/e2e.test" -- \
		--provider=skeleton --kubeconfig="$CLUSTER/kubeconfigs/admin" --kubectl-path="$BIN/kubectl" --report-dir="$OUT" \
		--node-os-distro=custom --dns-domain=cluster.local --num-nodes="$(wc -w <<<"$NODES")" --allowed-not-ready-nodes=0 --minStartupPods=0 \
		--disable-log-dump --dump-logs-on-failure=false 2>&1 |
		tee "$OUT/e2e.log" | awk -f "$HERE/progress.awk"
}

main() {
	local cache result=0
	[ "$(id -u)" = 0 ] || die "this needs root: it makes network namespaces and mounts"
	BIN=$("$HACK/tools/build.sh" --bin-dir)
	cache=$(dirname "$BIN")
	CLUSTER=$cache/cluster/${PFX%-}
	export KUBECONFIG=$CLUSTER/kubeconfig PATH=$BIN:$PATH
	timed "cluster, Ciliate and CoreDNS" "$HACK/demo/demo.sh" up
	timed "e2e.test and ginkgo (the first time: minutes)" "$HACK/tools/build.sh" ginkgo e2e.test
	timed "images" "$HACK/image/build.sh" "$cache/images" conformance
	timed "images into the nodes" "$HACK/cluster/load.sh" "$cache"/images/{busybox,glibc-dns-testing,regression-issue-74839}.tar
	timed "nodes and DNS are ready" ready
	timed "routes from the API server to the pods" route_pods
	rm -rf "$OUT"
	mkdir -p "$OUT"
	echo "conformance: specs of $FOCUS, $PROCS at once"
	run || result=1
	[ -s "$OUT/report.json" ] || die "the specs left no report; their last words are in $OUT/e2e.log"
	jq -r -f "$HERE/summary.jq" "$OUT/report.json" | tee "$OUT/summary.txt"
	return $result
}

main "$@"

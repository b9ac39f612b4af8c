#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# undeploy.sh: removes Ciliate from a cluster. Pods lose their network with it; new ones wait for another CNI plugin.
# CRDs and CiliumConfig stay, so that an install finds them again; PURGE=1 removes them too, last. Repeatable.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/kubectl.sh"
TAINT=node.cilium.io/agent-not-ready
CLEANERS=ciliate.dev/component=undeploy
ours() { k -n kube-system "$@" -l app.kubernetes.io/part-of=ciliate --ignore-not-found; }

say() { echo "undeploy: $*"; }
die() {
	say "$@" >&2
	exit 1
}

# The image that runs (an overlay may have renamed it); after a first, broken undeploy the one that cleans.
agent_image() {
	local set
	for set in cilium cilium-undeploy; do
		k -n kube-system get daemonset "$set" --ignore-not-found -o jsonpath='{.spec.template.spec.containers[0].image}' |
			grep . && return
	done
	true
}

# stop_new_pods: without the operator nobody takes the taint away again.
stop_new_pods() {
	k -n kube-system delete deployment cilium-operator --ignore-not-found --wait
	k taint nodes --all --overwrite "$TAINT=:NoSchedule" >/dev/null
}

# clean_nodes IMAGE: "uninstall" removes the CNI file first, then devices, maps and rules.
clean_nodes() {
	k -n kube-system delete daemonset cilium --ignore-not-found --wait
	k -n kube-system wait pods -l k8s-app=cilium,ciliate.dev/component=agent --for=delete --timeout=60s
	sed "s|ciliate/cilium-agent:dev|$1|" "$HERE/undeploy.yaml" | k apply -f -
	wait_for_clean_nodes
	k -n kube-system delete daemonset cilium-undeploy --wait
	k -n kube-system wait pods -l "$CLEANERS" --for=delete --timeout=60s
}

# wait_for_clean_nodes: a success shows in the container's present or last state.
wait_for_clean_nodes() {
	local want clean i
	for ((i = 0; i < 120; i++)); do
		want=$(k -n kube-system get daemonset cilium-undeploy -o jsonpath='{.status.desiredNumberScheduled}')
		clean=$(k -n kube-system get pods -l "$CLEANERS" -o jsonpath='{range .items[*]}{.status.containerStatuses[0].state.terminated.exitCode}{.status.containerStatuses[0].lastState.terminated.exitCode}{"\n"}{end}' |
			grep -c '^0' || true)
		[ "${want:-0}" -eq 0 ] || [ "$clean" -lt "$want" ] || return 0
		sleep 1
	done
	k -n kube-system logs -l "$CLEANERS" --prefix --tail=3 >&2 || true
	die "only $clean of ${want:-0} nodes are clean after two minutes; run this again when the others answer"
}

# release_endpoints: nobody is left to undo them, and a finalizer would hold up their namespaces for ever.
release_endpoints() {
	local namespace name index
	k get crd ciliumendpoints.cilium.io >/dev/null 2>&1 || return 0
	k get ciliumendpoints --all-namespaces -o go-template='{{range .items}}{{$e := .}}{{range $i, $f := .metadata.finalizers}}
{{- if eq $f "cilium.io/endpoint"}}{{$e.metadata.namespace}} {{$e.metadata.name}} {{$i}}{{"\n"}}{{end}}{{end}}{{end}}' |
		while read -r namespace name index; do
			k -n "$namespace" patch ciliumendpoint "$name" --type=json -p "[
				{\"op\":\"test\",\"path\":\"/metadata/finalizers/$index\",\"value\":\"cilium.io/endpoint\"},
				{\"op\":\"remove\",\"path\":\"/metadata/finalizers/$index\"}]"
		done
}

remove_rest() {
	ours delete configmap,serviceaccount,role,rolebinding
	ours delete clusterrole,clusterrolebinding
	ours delete validatingadmissionpolicybinding,validatingadmissionpolicy
	# By which agents agreed who announces a Service, and operators who leads.
	k -n kube-system delete lease -l ciliate.dev/announced-service --ignore-not-found
	k -n kube-system delete lease cilium-operator --ignore-not-found
}

purge() {
	k delete ciliumendpoints --all --all-namespaces --ignore-not-found
	k delete customresourcedefinition -l ciliate.dev/schema --ignore-not-found
}

main() {
	local image
	"$HERE/preflight/preflight.sh"
	image=$(agent_image)
	say "stopping new pods"
	stop_new_pods
	if [ -n "$image" ]; then
		say "removing agents, then what they made on the nodes"
		clean_nodes "$image"
	fi
	say "releasing endpoints"
	release_endpoints
	say "removing accounts, roles and policies"
	remove_rest
	if [ "${PURGE:-}" = 1 ]; then
		say "removing the CRDs and all objects of them"
		purge
	fi
	say "done; nodes keep the taint $TAINT, which Ciliate's operator removes: for another CNI plugin run" \
		"\"kubectl taint nodes --all $TAINT-\""
}

main

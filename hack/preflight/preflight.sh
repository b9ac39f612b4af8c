#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# preflight.sh: refuses a cluster in which Cilium itself is installed: its CRDs have our group and names, and an apply
# over them would strip its objects. Reads KUBECONFIG as kubectl does; changes nothing.
set -euo pipefail
. "$(dirname "$0")/../kubectl.sh"

refuse() {
	echo "preflight: $*" >&2
	exit 1
}

foreign_crds() {
	k get customresourcedefinitions -o go-template='{{range .items}}{{if eq .spec.group "cilium.io"}}{{$label := ""}}
{{- with .metadata.labels}}{{with index . "ciliate.dev/schema"}}{{$label = .}}{{end}}{{end}}
{{- if not $label}}{{.metadata.name}}{{"\n"}}{{end}}{{end}}{{end}}'
}

foreign_daemonsets() {
	k get daemonsets --all-namespaces --field-selector metadata.name=cilium -l '!ciliate.dev/component' \
		-o go-template='{{range .items}}{{.metadata.namespace}}{{"\n"}}{{end}}'
}

main() {
	local found
	found=$(foreign_daemonsets) || refuse "the cluster does not answer; see the error above"
	[ -z "$found" ] || refuse "Cilium is installed: DaemonSet \"cilium\" in namespace ${found//$'\n'/, } is not ours." \
		"Remove Cilium first; Ciliate cannot run beside it."
	found=$(foreign_crds) || refuse "the cluster does not answer; see the error above"
	[ -z "$found" ] || refuse "Cilium's CRDs are installed (${found//$'\n'/, } without the label ciliate.dev/schema)." \
		"Remove them first: applying ours over them would destroy Cilium's objects."
	echo "preflight: nothing of Cilium is in the cluster"
}

main

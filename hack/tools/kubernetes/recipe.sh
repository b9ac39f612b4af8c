# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash disable=SC2034 # read by ../build.sh
version=v1.36.3
# In this order: the API server compiles what the others share, and tests wait for it first.
mains=(
	k8s.io/kubernetes/cmd/kube-apiserver
	k8s.io/kubernetes/cmd/kubectl
	k8s.io/kubernetes/cmd/kubelet
	k8s.io/kubernetes/cmd/kube-controller-manager
	k8s.io/kubernetes/cmd/kube-scheduler
	k8s.io/kubernetes/test/images/agnhost
)
# Without the stamp the binaries call themselves v0.0.0-master, and version-gated code misbehaves.
ldflags="-s -w"
for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	ldflags+=" -X $p.gitVersion=$version -X $p.gitMajor=1 -X $p.gitMinor=36 -X $p.gitCommit=$version"
	ldflags+=" -X $p.gitTreeState=clean -X $p.buildDate=2026-01-01T00:00:00Z"
done

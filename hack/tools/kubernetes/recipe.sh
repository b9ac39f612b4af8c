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
	k8s.io/kubernetes/cmd/kube-proxy
	github.com/onsi/ginkgo/v2/ginkgo
	k8s.io/kubernetes/test/e2e
	k8s.io/kubernetes/test/images/regression-issue-74839
)
names=(
	kube-apiserver kubectl kubelet kube-controller-manager kube-scheduler agnhost
	kube-proxy ginkgo e2e.test regression-issue-74839
)
# The benchmarks ask for kube-proxy, make conformance for the others. The cluster does without, and e2e.test takes minutes.
ondemand=(kube-proxy ginkgo e2e.test regression-issue-74839)
# Without the stamp the binaries call themselves v0.0.0-master, and version-gated code misbehaves.
ldflags="-s -w"
for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	ldflags+=" -X $p.gitVersion=$version -X $p.gitMajor=1 -X $p.gitMinor=36 -X $p.gitCommit=$version"
	ldflags+=" -X $p.gitTreeState=clean -X $p.buildDate=2026-01-01T00:00:00Z"
done

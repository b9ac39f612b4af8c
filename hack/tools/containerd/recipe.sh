# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash disable=SC2034 # read by ../build.sh
mains=(
	github.com/containerd/containerd/v2/cmd/containerd
	github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
	github.com/containerd/containerd/v2/cmd/ctr
)
ldflags="-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2"

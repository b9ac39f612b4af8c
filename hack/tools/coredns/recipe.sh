# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash disable=SC2034 # read by ../build.sh
# A main of our own: upstream's links the plugins of every cloud.
mains=(.)
names=(coredns)
ldflags="-s -w -X github.com/coredns/coredns/coremain.GitCommit=v1.14.7"

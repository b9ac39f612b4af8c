# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash disable=SC2034 # read by ../build.sh
# The agent's image carries this plugin and puts it on the node; nothing else of the reference plugins is used.
mains=(github.com/containernetworking/plugins/plugins/main/loopback)
ldflags="-s -w -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=v1.9.1"

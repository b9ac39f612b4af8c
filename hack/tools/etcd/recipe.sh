# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash disable=SC2034 # read by ../build.sh
mains=(go.etcd.io/etcd/server/v3)
names=(etcd)
ldflags="-s -w"

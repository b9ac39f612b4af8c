# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash disable=SC2034 # read by ../build.sh
mains=(github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
ldflags="-s -w -X main.version=2.15.0"

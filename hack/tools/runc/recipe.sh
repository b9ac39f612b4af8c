# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash disable=SC2034 # read by ../build.sh
# The one C user: runc filters system calls through libseccomp. Static, so that a node needs no library.
mains=(github.com/opencontainers/runc)
cgo=1
tags="seccomp netgo osusergo"
ldflags="-s -w -linkmode external -extldflags -static -X main.version=1.5.2"
needs=("gcc gcc" "pkg-config pkg-config" "/usr/include/seccomp.h libseccomp-dev")

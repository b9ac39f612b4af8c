// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package tests tries the datapath's programs on the running kernel: packet by packet through BPF_PROG_TEST_RUN, and
// live between network namespaces of its own making. It needs root and the build tag "root", but neither clang nor
// iproute2, and builds statically, so that the same binary runs under other kernels.
package tests

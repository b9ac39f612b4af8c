// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package bare makes the paths that Ciliate's are measured against: a veth pair between two namespaces, two such pairs and a
// program of one line between them, and two nodes whose pods are joined by a VXLAN device and two programs of a few lines.
package bare

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -output-stem programs bare c/bare.c -- -O2 -g -Wall -Werror -mcpu=v3 -fno-strict-aliasing -I/usr/include/x86_64-linux-gnu

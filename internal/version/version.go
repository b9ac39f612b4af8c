// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package version holds the version that the linker stamps into every binary.
package version

// Version is set with -ldflags "-X github.com/ciliate-io/ciliate/internal/version.Version=…".
var Version = "dev"

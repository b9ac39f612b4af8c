// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build tools

// Package tools pins what recipe.sh builds.
package tools

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build tools

// Package tools pins what recipe.sh builds.
package tools

import (
	_ "github.com/containernetworking/plugins/plugins/ipam/host-local"
	_ "github.com/containernetworking/plugins/plugins/main/bridge"
	_ "github.com/containernetworking/plugins/plugins/main/loopback"
)

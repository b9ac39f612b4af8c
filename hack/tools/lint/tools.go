// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build tools

// Package tools pins what recipe.sh builds.
package tools

import (
	_ "github.com/golangci/golangci-lint/v2/cmd/golangci-lint"
)

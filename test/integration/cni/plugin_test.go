// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package cni

import (
	"testing"
)

func testPlugin(t *testing.T, c *cluster) {}

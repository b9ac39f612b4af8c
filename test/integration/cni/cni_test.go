// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package cni

import (
	"testing"

	"github.com/ciliate-io/ciliate/cnibin/fake"
)

func TestCNI(t *testing.T) {
	c := start(t)
	t.Run("the API server keeps the fake's contract", func(t *testing.T) {
		fake.Contract(t, fake.API{URL: c.url, Client: c.http()})
	})
	t.Run("the executed plugin", func(t *testing.T) { testPlugin(t, c) })
}

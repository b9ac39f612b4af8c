// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package netfilter

import (
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// TestLegacyEntries reads real tables: the kernel makes an empty one when it is asked.
func TestLegacyEntries(t *testing.T) {
	lab.Enter(t)
	for _, tables := range legacies() {
		if found, err := tables.hasChain("nat", "POSTROUTING"); found || err != nil {
			t.Errorf("%s: found %v, %v in a node without tables", tables.list, found, err)
		}
		entries, err := tables.entries("nat")
		if err != nil || !namesChain(entries, "ERROR") {
			t.Errorf("%s: %d bytes, %v, want the table's last entry ERROR", tables.list, len(entries), err)
		}
		if found, err := tables.hasChain("nat", serviceChain); found || err != nil {
			t.Errorf("%s: found %v, %v in an empty table", tables.list, found, err)
		}
	}
}

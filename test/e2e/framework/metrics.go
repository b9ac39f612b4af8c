// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"strconv"
	"strings"
	"testing"
)

// Packets returns the agent's counter of packets with that reason and direction.
func (n *Node) Packets(t *testing.T, reason, direction string) uint64 {
	t.Helper()
	for line := range strings.Lines(n.MustRun(t, "curl", "-sf", "--max-time", "10", "http://127.0.0.1:9962/metrics")) {
		if !strings.HasPrefix(line, "ciliate_datapath_packets_total{") ||
			!strings.Contains(line, `reason="`+reason+`"`) || !strings.Contains(line, `direction="`+direction+`"`) {
			continue
		}
		_, number, _ := strings.Cut(line, "} ")
		value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil {
			t.Fatalf("parse %q: %v", line, err)
		}
		return uint64(value)
	}
	return 0
}

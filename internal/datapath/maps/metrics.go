// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"fmt"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// reasonBits is how many bits of a row's number are the reason; the one above them is the direction.
const reasonBits = 8

// Counts returns the rows that ever counted a packet, summed over the CPUs, in the order of direction and reason.
func (m *Maps) Counts() ([]datapath.Count, error) {
	var out []datapath.Count
	var row uint32
	var perCPU []bpfgen.Metric
	rows := m.metrics.Iterate()
	for rows.Next(&row, &perCPU) {
		c := datapath.Count{Reason: bpfgen.Reason(row).String(), Direction: "ingress"}
		if row>>reasonBits != 0 {
			c.Direction = "egress"
		}
		for _, v := range perCPU {
			c.Packets += v.Packets
			c.Bytes += v.Bytes
		}
		if c.Packets != 0 {
			out = append(out, c)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return out, nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// reasonBits is how many bits of a row's number are the reason; the one above them is the direction.
const reasonBits = 8

// Counts returns the rows that ever counted a packet, summed over the CPUs, in the order of direction and reason.
func (m *Maps) Counts() ([]datapath.Count, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	rows := make([]uint32, m.metrics.MaxEntries())
	perCPU := make([]bpfgen.Metric, len(rows)*cpus)
	var cursor ebpf.MapBatchCursor
	n, err := m.metrics.BatchLookup(&cursor, rows, perCPU, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	var out []datapath.Count
	for i, row := range rows[:n] {
		if c := sum(row, perCPU[i*cpus:(i+1)*cpus]); c.Packets != 0 {
			out = append(out, c)
		}
	}
	return out, nil
}

// sum names a row and adds up its CPUs.
func sum(row uint32, perCPU []bpfgen.Metric) datapath.Count {
	c := datapath.Count{Reason: bpfgen.Reason(row).String(), Direction: "ingress"}
	if row>>reasonBits != 0 {
		c.Direction = "egress"
	}
	for _, v := range perCPU {
		c.Packets += v.Packets
		c.Bytes += v.Bytes
	}
	return c
}

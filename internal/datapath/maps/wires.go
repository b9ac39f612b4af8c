// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"net"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// SyncWires makes these the only cards between which from_wire forwards, with their MACs.
func (m *Maps) SyncWires(wires map[int]net.HardwareAddr) error {
	want := make(map[uint32]bpfgen.Wire, len(wires))
	for index, mac := range wires {
		var w bpfgen.Wire
		copy(w.Mac[:], mac)
		want[uint32(index)] = w
	}
	return sync(m.wires, want)
}

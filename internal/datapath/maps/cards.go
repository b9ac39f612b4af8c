// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"net/netip"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// SyncCards makes these the only devices by which pods' packets leave under an address of the node: the first one of
// each family that the device is given here. A family without one does not leave.
func (m *Maps) SyncCards(cards map[int][]netip.Addr) error {
	want := make(map[uint32]bpfgen.Card, len(cards))
	for index, addrs := range cards {
		var c bpfgen.Card
		c.Addr4.B, c.Addr6.B = firsts(addrs)
		want[uint32(index)] = c
	}
	return sync(m.cards, want)
}

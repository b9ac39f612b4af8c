// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"net/netip"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// Card is a device by which pods' packets leave for the world.
type Card struct {
	Index int
	// Addrs are the node's on it. A masquerading card gives packets the first one of their family, and drops those of a
	// family without one.
	Addrs       []netip.Addr
	Masquerades bool
	// Direct is whether packets between pods and it do not cross the host's stack.
	Direct bool
}

// SyncCards makes these the only ones.
func (m *Maps) SyncCards(cards []Card) error {
	want := make(map[uint32]bpfgen.Card, len(cards))
	for _, card := range cards {
		c := bpfgen.Card{Masquerades: flag(card.Masquerades), Direct: flag(card.Direct)}
		c.Addr4.B, c.Addr6.B = firsts(card.Addrs)
		want[uint32(card.Index)] = c
	}
	return sync(m.cards, want)
}

// flag is a fact as C knows it.
func flag(fact bool) uint8 {
	if fact {
		return 1
	}
	return 0
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
)

// TableSize is how many positions a Maglev table has: a prime, and far above the number of backends that share them.
// bpf/lib/types.h has the same number.
const TableSize = 16381

// tableVersion is another one whenever the same ring gets another table, so that an agent does not take over its
// predecessor's.
const tableVersion = 1

// Ring is what a Maglev table is made of: the backends in their slots.
type Ring struct {
	Protocol Protocol
	Slots    []netip.AddrPort
}

// Sum tells one ring from another: who has it has the table too.
func (r Ring) Sum() uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte{tableVersion}) // never fails
	for _, backend := range r.Slots {
		_, _ = sum.Write(r.identity(backend))
	}
	return sum.Sum64()
}

// Table gives each position the slot of a backend. Which backend that is follows from who they are, not from where each
// node has put them, so it is the same on all nodes. In turns, each backend takes the next free position in an order of
// its own: all get the same number, and when one comes or goes, few positions change between the others (Eisenbud et al.,
// "Maglev: A Fast and Reliable Software Network Load Balancer", 2016, section 3.4).
func (r Ring) Table() []uint16 {
	order := make([]uint16, len(r.Slots))
	for slot := range order {
		order[slot] = uint16(slot)
	}
	slices.SortFunc(order, func(a, b uint16) int { return r.Slots[a].Compare(r.Slots[b]) })
	next, skip := make([]uint32, len(order)), make([]uint32, len(order))
	for i, slot := range order {
		next[i], skip[i] = r.walk(r.Slots[slot])
	}
	table, taken := make([]uint16, TableSize), make([]bool, TableSize)
	for free := TableSize; free > 0; {
		for i := 0; i < len(order) && free > 0; i++ {
			for taken[next[i]] {
				next[i] = (next[i] + skip[i]) % TableSize
			}
			table[next[i]], taken[next[i]] = order[i], true
			free--
		}
	}
	return table
}

// walk is a backend's way through all positions: where it starts, and its stride.
func (r Ring) walk(backend netip.AddrPort) (start, stride uint32) {
	first, second := fnv.New64a(), fnv.New64a()
	identity := r.identity(backend)
	_, _ = first.Write(identity) // never fails
	_, _ = second.Write(append([]byte("stride"), identity...))
	return uint32(first.Sum64() % TableSize), uint32(second.Sum64()%(TableSize-1)) + 1
}

// identity is what makes a backend this one, wherever it is seen.
func (r Ring) identity(backend netip.AddrPort) []byte {
	addr := backend.Addr().As16()
	return append(binary.BigEndian.AppendUint16(addr[:], backend.Port()), byte(r.Protocol))
}

// tabled tells whether backends can share a table: for one there is nothing to choose, and more than there are
// positions would not all get one. Without a table they are chosen at random.
func tabled(backends []netip.AddrPort) bool { return len(backends) > 1 && len(backends) <= TableSize }

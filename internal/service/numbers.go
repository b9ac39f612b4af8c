// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"hash/fnv"
)

// numbers gives sets their numbers: the one under which the kernel has them already, else one that follows from the
// name, so that every start of the agent comes to the same.
type numbers struct {
	// taken are numbers in use, with the protocol of their set (0 if the kernel has a number that is nobody's).
	taken map[uint32]Protocol
	// free are numbers that the kernel had and nobody has claimed yet.
	free map[uint32]bool
	// dying are numbers whose last entries are deleted with the next change: to give them away before would lead old
	// clients to new backends.
	dying []uint32
}

func newNumbers(have State) numbers {
	n := numbers{taken: map[uint32]Protocol{}, free: map[uint32]bool{}}
	for frontend, entry := range have.Frontends {
		n.taken[entry.ID], n.free[entry.ID] = frontend.Protocol, true
	}
	for slot := range have.Backends {
		n.find(slot.ID)
	}
	for id := range have.Sources {
		n.find(id)
	}
	for id := range have.Rings {
		n.find(id)
	}
	return n
}

// find notes a number that the kernel has, whoever's it was.
func (n *numbers) find(id uint32) {
	if _, known := n.taken[id]; !known {
		n.taken[id] = 0
	}
	n.free[id] = true
}

// take returns the set's number.
func (n *numbers) take(set Set, written map[Frontend]Entry) uint32 {
	var protocol Protocol
	for _, frontend := range set.Frontends {
		protocol = frontend.Protocol
		if entry, there := written[frontend]; there && n.free[entry.ID] && n.taken[entry.ID] == protocol {
			delete(n.free, entry.ID)
			return entry.ID
		}
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(set.Name)) // never fails
	for id := hash.Sum32(); ; id++ {
		if _, taken := n.taken[id]; !taken && id != 0 {
			n.taken[id] = protocol
			return id
		}
	}
}

func (n *numbers) protocol(id uint32) Protocol { return n.taken[id] }

// retire takes a number out of use.
func (n *numbers) retire(id uint32) { n.dying = append(n.dying, id) }

// bury ends a change: what died in it can be born again in the next.
func (n *numbers) bury() {
	for _, id := range n.dying {
		delete(n.taken, id)
	}
	n.dying = nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"cmp"
	"net/netip"
	"time"
)

// Protocol is a number as IP knows it.
type Protocol uint8

// The protocols that Services speak.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// Scope says who asks for a Service; the same address may lead each to other backends.
type Scope uint8

const (
	// OfNode are sockets of this node, its pods' among them.
	OfNode Scope = iota
	// OfWorld are packets that come to this node from outside.
	OfWorld
)

// Frontend is where clients find a Service.
type Frontend struct {
	Addr     netip.AddrPort
	Protocol Protocol
	Scope    Scope
}

// Compare orders frontends.
func (f Frontend) Compare(g Frontend) int {
	return cmp.Or(f.Addr.Compare(g.Addr), cmp.Compare(f.Protocol, g.Protocol), cmp.Compare(f.Scope, g.Scope))
}

// Set is a number of backends and the frontends behind which they stand: one port of a Service in one family, for one
// kind of client.
type Set struct {
	// Name names the set for ever: the Service, its port, the family, the kind of client.
	Name string
	// Frontends have no backends but these; without backends they refuse.
	Frontends []Frontend
	// Backends are sorted and of the frontends' family.
	Backends []netip.AddrPort
	// Affinity is how long a client keeps its backend; 0 for not at all.
	Affinity time.Duration
	// Local: the backends are of this node alone, and who comes from outside keeps his address. Without backends he is
	// not answered, so that he asks another node.
	Local bool
	// Maglev: packets of one conversation come to the same backend on every node. It takes a table.
	Maglev bool
	// NodePorts are those of the frontends that are node ports: a process of the node that listened there would hear
	// nothing.
	NodePorts []netip.AddrPort
	// Guarded: of those from outside only Sources, sorted, are let in; without any, nobody.
	Guarded bool
	Sources []netip.Prefix
	// Rank and Since decide between sets that claim the same frontend: the lower one has it, then the older one, then
	// the one whose name comes first.
	Rank  Rank
	Since time.Time
}

// Rank says how good a claim to a frontend is.
type Rank uint8

const (
	// Assigned is an address that the cluster gave: nobody else can have it.
	Assigned Rank = iota
	// Claimed is an address that somebody wrote into his Service.
	Claimed
)

// Entry is what is known of a frontend.
type Entry struct {
	ID       uint32
	Count    uint32
	Affinity time.Duration
	// Local and Guarded are the set's.
	Local, Guarded bool
	// Maglev: the number has a table.
	Maglev bool
	// NodePort: the frontend is a node port.
	NodePort bool
}

// Slot is the place of a backend.
type Slot struct {
	ID, Index uint32
}

// State is what tables hold.
type State struct {
	Frontends map[Frontend]Entry
	Backends  map[Slot]netip.AddrPort
	// Sources are those who are let in, by the number of the set, sorted.
	Sources map[uint32][]netip.Prefix
	// Rings are the sums of the rings of which the Maglev tables are made, by the number of the set.
	Rings map[uint32]uint64
}

// Source is one range of clients that is let in.
type Source struct {
	ID     uint32
	Prefix netip.Prefix
}

// Diff is what to write, in this order, so that nobody is ever led to a slot that is not there yet.
type Diff struct {
	PutBackends map[Slot]netip.AddrPort
	// PutRings replace whole Maglev tables. Until then the old one leads to slots that are there: who stays is never
	// moved to the slot of another who stays, and old slots are deleted last.
	PutRings        map[uint32]Ring
	PutFrontends    map[Frontend]Entry
	DeleteFrontends []Frontend
	DeleteRings     []uint32
	DeleteBackends  []Slot
	// PutSources come before the frontends, DeleteSources after them.
	PutSources, DeleteSources []Source
	// Gone are backends that no frontend of that protocol leads to any more through the set that they were in.
	Gone []Backend
}

// Backend is one end of a conversation with a Service.
type Backend struct {
	Addr     netip.AddrPort
	Protocol Protocol
}

// Empty tells whether there is nothing to write.
func (d Diff) Empty() bool {
	return len(d.PutFrontends)+len(d.PutBackends)+len(d.PutSources)+len(d.PutRings) == 0 && !d.FreesRoom()
}

// FreesRoom tells whether others may find a place that found none.
func (d Diff) FreesRoom() bool {
	return len(d.DeleteFrontends)+len(d.DeleteBackends)+len(d.DeleteSources)+len(d.DeleteRings) > 0
}

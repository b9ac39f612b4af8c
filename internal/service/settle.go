// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// settle compares what is wanted of what was touched with what the kernel has, and takes it for written.
func (t *Table) settle(c touched) Diff {
	d := Diff{PutBackends: map[Slot]netip.AddrPort{}, PutRings: map[uint32]Ring{}, PutFrontends: map[Frontend]Entry{}}
	for id := range c.ids {
		if p := t.byID[id]; p != nil {
			for _, frontend := range p.Frontends {
				c.frontends[frontend] = true // it counts the backends
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.ids)) {
		t.settleBackends(id, &d)
		t.settleRing(id, &d)
		t.settleSources(id, &d)
	}
	t.settleFrontends(slices.SortedFunc(maps.Keys(c.frontends), Frontend.Compare), &d)
	t.forget(&d)
	t.ids.bury()
	return d
}

// settleBackends arranges the backends of one number. As long as the old ones are there, the new ones need room beside
// them. A number that is nobody's any more has none.
func (t *Table) settleBackends(id uint32, d *Diff) {
	had := t.slotsOf(id)
	var slots []netip.AddrPort
	if p := t.byID[id]; p != nil {
		want := p.Backends
		if room := t.capacity.Backends - len(t.written.Backends) + len(had); len(want) > room {
			want = want[:max(room, 0)]
			t.short[p.owner] = true
		}
		slots = arrange(had, want)
		p.slots = slots
	}
	for i, backend := range slots {
		if slot := (Slot{id, uint32(i)}); t.written.Backends[slot] != backend {
			d.PutBackends[slot] = backend
			t.written.Backends[slot] = backend
		}
	}
	for i := len(slots); i < len(had); i++ {
		d.DeleteBackends = append(d.DeleteBackends, Slot{id, uint32(i)})
	}
	t.count(id, had, slots, d)
}

// settleRing gives a number the Maglev table that its slots make, if it is to have one. As for backends, a table that
// goes takes up room until all else is written. A set that finds none is chosen from at random.
func (t *Table) settleRing(id uint32, d *Diff) {
	p := t.byID[id]
	had, there := t.written.Rings[id]
	if p == nil || !p.Maglev || !tabled(p.slots) {
		if p != nil {
			p.tabled = false
		}
		if there {
			d.DeleteRings = append(d.DeleteRings, id)
		}
		return
	}
	if p.tabled = there || len(t.written.Rings) < t.capacity.Rings; !p.tabled {
		t.short[p.owner] = true
		return
	}
	ring := Ring{Protocol: t.ids.protocol(id), Slots: p.slots}
	if sum := ring.Sum(); !there || sum != had {
		d.PutRings[id] = ring
		t.written.Rings[id] = sum
	}
}

// settleSources lets in who belongs to one number, and nobody else. For whom there is no room he stays outside.
func (t *Table) settleSources(id uint32, d *Diff) {
	had := make(map[netip.Prefix]bool)
	for _, prefix := range t.written.Sources[id] {
		had[prefix] = true
	}
	var let []netip.Prefix
	if p := t.byID[id]; p != nil {
		for _, prefix := range p.Sources {
			if !had[prefix] && t.sources >= t.capacity.Sources {
				t.short[p.owner] = true
				continue
			}
			if !had[prefix] {
				t.sources++
				d.PutSources = append(d.PutSources, Source{id, prefix})
			}
			delete(had, prefix)
			let = append(let, prefix)
		}
	}
	for _, prefix := range slices.SortedFunc(maps.Keys(had), netip.Prefix.Compare) {
		d.DeleteSources = append(d.DeleteSources, Source{id, prefix})
	}
	if t.written.Sources[id] = let; len(let) == 0 {
		delete(t.written.Sources, id)
	}
}

// count notes who left the set and who joined it.
func (t *Table) count(id uint32, had, have []netip.AddrPort, d *Diff) {
	protocol := t.ids.protocol(id)
	for _, addr := range have {
		t.users[Backend{addr, protocol}]++
	}
	for _, addr := range had {
		backend := Backend{addr, protocol}
		if t.users[backend]--; t.users[backend] <= 0 {
			delete(t.users, backend)
			d.Gone = append(d.Gone, backend)
		}
	}
}

// settleFrontends leads each frontend to the best claim on it.
func (t *Table) settleFrontends(frontends []Frontend, d *Diff) {
	for _, frontend := range frontends {
		have, there := t.written.Frontends[frontend]
		row := t.claims[frontend]
		if len(row) == 0 {
			if there {
				d.DeleteFrontends = append(d.DeleteFrontends, frontend)
			}
			continue
		}
		p := row[0]
		if !there && len(t.written.Frontends) >= t.capacity.Frontends {
			t.short[p.owner] = true
			continue
		}
		want := Entry{
			ID: p.id, Count: uint32(len(p.slots)), Affinity: p.Affinity, Local: p.Local, Guarded: p.Guarded,
			Maglev: p.tabled, NodePort: slices.Contains(p.NodePorts, frontend.Addr),
		}
		if !there || have != want {
			d.PutFrontends[frontend] = want
			t.written.Frontends[frontend] = want
		}
	}
}

// forget takes what is to be deleted for deleted. The order of deletions is that of their keys.
func (t *Table) forget(d *Diff) {
	for _, frontend := range d.DeleteFrontends {
		delete(t.written.Frontends, frontend)
	}
	for _, slot := range d.DeleteBackends {
		delete(t.written.Backends, slot)
	}
	for _, id := range d.DeleteRings {
		delete(t.written.Rings, id)
	}
	t.sources -= len(d.DeleteSources)
	// One set's last may have been another's first.
	d.Gone = slices.DeleteFunc(d.Gone, func(b Backend) bool { return t.users[b] > 0 })
	slices.SortFunc(d.Gone, func(a, b Backend) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol))
	})
	d.Gone = slices.Compact(d.Gone)
}

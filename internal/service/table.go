// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Capacity is how many entries tables can hold.
type Capacity struct {
	Frontends, Backends, Sources, Rings int
}

// Table remembers who wants what and what the kernel has been told. It is not safe for concurrent use.
type Table struct {
	capacity Capacity
	// written is what the kernel's tables hold; sources counts the ranges in it.
	written State
	sources int
	// owners are the sets of each Service, sets all of them by name.
	owners map[string][]string
	sets   map[string]*placed
	byID   map[uint32]*placed
	// claims are the sets that want a frontend, the best claim first; contested are those that several want.
	claims    map[Frontend][]*placed
	contested map[Frontend]bool
	ids       numbers
	// users counts in how many sets a backend is.
	users map[Backend]int
	// short are the Services for which there was no room.
	short map[string]bool
}

// placed is a set with its number and its slots.
type placed struct {
	Set
	owner string
	id    uint32
	slots []netip.AddrPort
	// tabled: it has a Maglev table.
	tabled bool
}

// NewTable starts from what the kernel's tables hold. What no Service wants stays until the first Replace.
func NewTable(have State, capacity Capacity) *Table {
	t := &Table{
		capacity: capacity,
		written: State{
			Frontends: map[Frontend]Entry{}, Backends: map[Slot]netip.AddrPort{}, Sources: map[uint32][]netip.Prefix{},
			Rings: map[uint32]uint64{},
		},
		owners: map[string][]string{}, sets: map[string]*placed{}, byID: map[uint32]*placed{},
		claims: map[Frontend][]*placed{}, contested: map[Frontend]bool{}, ids: newNumbers(have), users: map[Backend]int{}, short: map[string]bool{},
	}
	maps.Copy(t.written.Frontends, have.Frontends)
	maps.Copy(t.written.Backends, have.Backends)
	maps.Copy(t.written.Sources, have.Sources)
	maps.Copy(t.written.Rings, have.Rings)
	for _, ranges := range have.Sources {
		t.sources += len(ranges)
	}
	for slot, addr := range have.Backends {
		t.users[Backend{addr, t.ids.protocol(slot.ID)}]++
	}
	return t
}

// Replace makes these the only Services: the sets of each by its name.
func (t *Table) Replace(services map[string][]Set) Diff {
	changes := maps.Clone(services)
	for owner := range t.owners {
		if _, wanted := changes[owner]; !wanted {
			changes[owner] = nil
		}
	}
	c := t.change(changes)
	for frontend := range t.written.Frontends {
		c.frontends[frontend] = true
	}
	for slot := range t.written.Backends {
		c.ids[slot.ID] = true
	}
	for id := range t.written.Sources {
		c.ids[id] = true
	}
	for id := range t.written.Rings {
		c.ids[id] = true
	}
	d := t.settle(c)
	t.sweep(&d)
	return d
}

// sweep deletes slots behind a hole, which only a crash between two writes can have left, and gives back the numbers
// that nobody claimed.
func (t *Table) sweep(d *Diff) {
	for slot := range t.written.Backends {
		if p := t.byID[slot.ID]; p == nil || int(slot.Index) >= len(p.slots) {
			d.DeleteBackends = append(d.DeleteBackends, slot)
			delete(t.written.Backends, slot)
		}
	}
	for id := range t.ids.free {
		t.ids.retire(id)
	}
	clear(t.ids.free)
	t.ids.bury()
}

// Update gives Services other sets, or none.
func (t *Table) Update(changes map[string][]Set) Diff { return t.settle(t.change(changes)) }

// touched is what a change may have changed.
type touched struct {
	frontends map[Frontend]bool
	ids       map[uint32]bool
}

func (t *Table) change(changes map[string][]Set) touched {
	c := touched{frontends: map[Frontend]bool{}, ids: map[uint32]bool{}}
	// Those for whom there was no room may find some now.
	for owner := range t.short {
		if _, changed := changes[owner]; !changed {
			t.reconsider(owner, &c)
		}
	}
	clear(t.short)
	owners := slices.Sorted(maps.Keys(changes))
	for _, owner := range owners {
		t.withdraw(owner, changes[owner], &c)
	}
	for _, owner := range owners {
		for _, set := range changes[owner] {
			t.place(owner, set, &c)
		}
	}
	return c
}

// reconsider touches what a Service wants.
func (t *Table) reconsider(owner string, c *touched) {
	for _, name := range t.owners[owner] {
		p := t.sets[name]
		c.ids[p.id] = true
		for _, frontend := range p.Frontends {
			c.frontends[frontend] = true
		}
	}
}

// withdraw takes from a Service the sets and frontends that are not in want.
func (t *Table) withdraw(owner string, want []Set, c *touched) {
	keep := make(map[string]map[Frontend]bool, len(want))
	for _, set := range want {
		keep[set.Name] = map[Frontend]bool{}
		for _, frontend := range set.Frontends {
			keep[set.Name][frontend] = true
		}
	}
	for _, name := range t.owners[owner] {
		p := t.sets[name]
		for _, frontend := range p.Frontends {
			if !keep[name][frontend] {
				t.unclaim(frontend, p)
				c.frontends[frontend] = true
			}
		}
		if keep[name] == nil {
			c.ids[p.id] = true
			t.ids.retire(p.id)
			delete(t.sets, name)
			delete(t.byID, p.id)
		}
	}
	if t.owners[owner] = slices.Sorted(maps.Keys(keep)); len(keep) == 0 {
		delete(t.owners, owner)
	}
}

// place takes over a set.
func (t *Table) place(owner string, set Set, c *touched) {
	p := t.sets[set.Name]
	if p == nil {
		p = &placed{owner: owner, id: t.ids.take(set, t.written.Frontends)}
		p.slots = t.slotsOf(p.id)
		t.sets[set.Name], t.byID[p.id] = p, p
	}
	p.Set = set
	c.ids[p.id] = true
	for _, frontend := range set.Frontends {
		t.claim(frontend, p)
		c.frontends[frontend] = true
	}
}

// slotsOf are the backends that the kernel has under a number.
func (t *Table) slotsOf(id uint32) []netip.AddrPort {
	var slots []netip.AddrPort
	for {
		backend, there := t.written.Backends[Slot{id, uint32(len(slots))}]
		if !there {
			return slots
		}
		slots = append(slots, backend)
	}
}

func (t *Table) claim(frontend Frontend, p *placed) {
	row := slices.DeleteFunc(t.claims[frontend], func(q *placed) bool { return q == p })
	row = append(row, p)
	slices.SortFunc(row, func(a, b *placed) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), a.Since.Compare(b.Since), strings.Compare(a.Name, b.Name))
	})
	t.claims[frontend] = row
	if len(row) > 1 {
		t.contested[frontend] = true
	}
}

func (t *Table) unclaim(frontend Frontend, p *placed) {
	row := slices.DeleteFunc(t.claims[frontend], func(q *placed) bool { return q == p })
	if t.claims[frontend] = row; len(row) == 0 {
		delete(t.claims, frontend)
	}
	if len(row) < 2 {
		delete(t.contested, frontend)
	}
}

// Contested are the Services that are not led to at a place of theirs, because another has it. Each names the other and
// one such place.
func (t *Table) Contested() []string {
	var out []string
	told := map[[2]string]bool{}
	for _, frontend := range slices.SortedFunc(maps.Keys(t.contested), Frontend.Compare) {
		row := t.claims[frontend]
		for _, p := range row[1:] {
			if pair := [2]string{p.owner, row[0].owner}; !told[pair] && p.owner != row[0].owner {
				told[pair] = true
				out = append(out, fmt.Sprintf("%s (%s has %s)", p.owner, row[0].owner, frontend.Addr))
			}
		}
	}
	return out
}

// Short are the Services that did not get all their frontends, backends or ranges of clients, or their Maglev table, because
// there is no room.
func (t *Table) Short() []string { return slices.Sorted(maps.Keys(t.short)) }

// Written counts the Services that have a frontend, and all places of backends.
func (t *Table) Written() (services, backends int) { return len(t.owners), len(t.written.Backends) }

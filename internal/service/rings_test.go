// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// maglevKernel also keeps the Maglev tables.
type maglevKernel struct {
	*kernel
	tables map[uint32][]uint16
}

func newMaglevKernel() *maglevKernel {
	return &maglevKernel{kernel: newKernel(), tables: map[uint32][]uint16{}}
}

// writeRings is what kernel.write leaves out.
func (k *maglevKernel) writeRings(d Diff) {
	for id, ring := range d.PutRings {
		k.Rings[id], k.tables[id] = ring.Sum(), ring.Table()
	}
	for _, id := range d.DeleteRings {
		delete(k.Rings, id)
		delete(k.tables, id)
	}
}

// writeInSteps writes a difference kind by kind, in the order that Diff promises, and looks after each.
func (k *maglevKernel) writeInSteps(d Diff, look func(step string)) {
	for _, step := range []struct {
		name string
		part Diff
	}{
		{"backends were put", Diff{PutBackends: d.PutBackends}},
		{"tables were put", Diff{PutRings: d.PutRings}},
		{"frontends were put", Diff{PutFrontends: d.PutFrontends}},
		{"frontends were deleted", Diff{DeleteFrontends: d.DeleteFrontends}},
		{"tables were deleted", Diff{DeleteRings: d.DeleteRings}},
		{"backends were deleted", Diff{DeleteBackends: d.DeleteBackends}},
	} {
		k.write(step.part)
		k.writeRings(step.part)
		look(step.name)
	}
}

func (k *maglevKernel) put(d Diff) { k.writeInSteps(d, func(string) {}) }

// led is the backend at each position of the table behind a frontend, as the programs find it; nil without a table.
func (k *maglevKernel) led(t *testing.T, f Frontend) []netip.AddrPort {
	t.Helper()
	entry := k.Frontends[f]
	if !entry.Maglev {
		return nil
	}
	out := make([]netip.AddrPort, 0, TableSize)
	for position, slot := range k.tables[entry.ID] {
		backend, there := k.Backends[Slot{entry.ID, uint32(slot)}]
		if !there {
			t.Fatalf("position %d leads to slot %d, which is empty", position, slot)
		}
		out = append(out, backend)
	}
	return out
}

func maglev(name, frontend string, behind ...netip.AddrPort) Set {
	s := set(name, frontend)
	s.Maglev, s.Backends = true, behind
	return s
}

// TestTablesFollowTheirBackends: at no moment of any change a client is led to a backend that is not there, or away from
// one that stays by another way than the old table or the new one.
func TestTablesFollowTheirBackends(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	table, k := NewTable(State{}, large()), newMaglevKernel()
	all := ring(0, 12).Slots
	var before []netip.AddrPort
	for range 60 {
		dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		behind := slices.Clone(all[:2+dice.IntN(len(all)-2)])
		slices.SortFunc(behind, netip.AddrPort.Compare)
		after := named(Ring{Protocol: TCP, Slots: behind})
		k.writeInSteps(table.Update(map[string][]Set{"a": {maglev("a", vip, behind...)}}), func(step string) {
			for position, got := range k.led(t, tcp(vip)) {
				if before == nil || got == before[position] || got == after[position] {
					continue
				}
				if slices.Contains(behind, before[position]) || !slices.Contains(behind, got) {
					t.Fatalf("when %s, position %d of %s and then %s leads to %s", step, position, before[position], after[position], got)
				}
			}
		})
		if before = k.led(t, tcp(vip)); !slices.Equal(before, after) {
			t.Fatal("the table is not the one that follows from the backends")
		}
	}
}

// TestRings: who wants a table and has a choice gets one, and it is written when its slots change.
func TestRings(t *testing.T) {
	table, k := NewTable(State{}, large()), newMaglevKernel()
	random := set("a", vip, one, two)
	two4, three4 := backends(one, two), backends(one, two, three)
	moved := maglev("a", vip2, two4...)
	for _, step := range []struct {
		name         string
		sets         []Set
		puts, drops  int
		tables       int
		frontendLeft bool
	}{
		{"chosen at random", []Set{random}, 0, 0, 0, true},
		{"by Maglev", []Set{maglev("a", vip, two4...)}, 1, 0, 1, true},
		{"nothing changes", []Set{maglev("a", vip, two4...)}, 0, 0, 1, true},
		{"a backend comes", []Set{maglev("a", vip, three4...)}, 1, 0, 1, true},
		{"one is left", []Set{maglev("a", vip, three4[:1]...)}, 0, 1, 0, true},
		{"none is left", []Set{maglev("a", vip)}, 0, 0, 0, true},
		{"two are back", []Set{maglev("a", vip, two4...)}, 1, 0, 1, true},
		{"at random again", []Set{random}, 0, 1, 0, true},
		{"by Maglev again", []Set{maglev("a", vip, two4...)}, 1, 0, 1, true},
		{"at another address", []Set{moved}, 0, 0, 1, false},
		{"gone", nil, 0, 1, 0, false},
	} {
		d := table.Update(map[string][]Set{"a": step.sets})
		k.put(d)
		if len(d.PutRings) != step.puts || len(d.DeleteRings) != step.drops || len(k.tables) != step.tables {
			t.Errorf("%s: %d tables put and %d deleted, %d there, want %d, %d and %d", step.name,
				len(d.PutRings), len(d.DeleteRings), len(k.tables), step.puts, step.drops, step.tables)
		}
		if _, there := k.Frontends[tcp(vip)]; there != step.frontendLeft {
			t.Errorf("%s: frontend there: %t", step.name, there)
		}
		for frontend, entry := range k.Frontends {
			if _, there := k.tables[entry.ID]; there != entry.Maglev {
				t.Errorf("%s: %s has a table: %t, says so: %t", step.name, frontend.Addr, there, entry.Maglev)
			}
		}
	}
}

func TestRingsAcrossRestarts(t *testing.T) {
	services := map[string][]Set{"a": {maglev("a", vip, backends(one, two, three)...)}, "b": {maglev("b", vip2, backends(one, two)...)}}
	k := newMaglevKernel()
	k.put(NewTable(State{}, large()).Replace(services))
	if d := NewTable(k.State, large()).Replace(services); !d.Empty() {
		t.Errorf("a restart writes %+v", d)
	}
	id := k.Frontends[tcp(vip)].ID
	tests := map[string]struct {
		spoil      func(rings map[uint32]uint64)
		puts, gone int
	}{
		"a table is of other slots": {func(r map[uint32]uint64) { r[id]++ }, 1, 0},
		"a table is gone":           {func(r map[uint32]uint64) { delete(r, id) }, 1, 0},
		"one is nobody's":           {func(r map[uint32]uint64) { r[4711] = 1 }, 0, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			have := k.State
			have.Rings = maps.Clone(k.Rings)
			tt.spoil(have.Rings)
			d := NewTable(have, large()).Replace(services)
			if len(d.PutRings) != tt.puts || len(d.DeleteRings) != tt.gone || len(d.PutFrontends)+len(d.PutBackends) > 0 {
				t.Errorf("written: %+v", d)
			}
		})
	}
}

func TestNoRoomForTables(t *testing.T) {
	table, k := NewTable(State{}, Capacity{Frontends: 9, Backends: 9, Rings: 1}), newMaglevKernel()
	behind := backends(one, two)
	k.put(table.Update(map[string][]Set{"a": {maglev("a", vip, behind...)}, "b": {set("b", vip2, one)}}))
	wantShort(t, table)
	k.put(table.Update(map[string][]Set{"b": {maglev("b", vip2, behind...)}}))
	wantShort(t, table, "b")
	if diff := cmp.Diff([]string{one, two}, k.behind(t, tcp(vip2))); diff != "" || k.led(t, tcp(vip2)) != nil {
		t.Errorf("behind the Service without a table, which is chosen from at random (-want +got):\n%s", diff)
	}
	k.put(table.Update(map[string][]Set{"a": nil}))
	k.put(table.Update(nil))
	wantShort(t, table)
	if len(k.led(t, tcp(vip2))) != TableSize {
		t.Error("with room, the Service has no table")
	}
}

// TestNodePortsAreMarked: only they, and only in the set whose they are.
func TestNodePortsAreMarked(t *testing.T) {
	both := set("a", vip, one)
	both.Frontends = append(both.Frontends, tcp("192.0.2.1:30080"))
	both.NodePorts = backends("192.0.2.1:30080")
	table, k := NewTable(State{}, large()), newKernel()
	k.write(table.Update(map[string][]Set{"a": {both}}))
	if k.Frontends[tcp(vip)].NodePort || !k.Frontends[tcp("192.0.2.1:30080")].NodePort {
		t.Errorf("frontends = %+v", k.Frontends)
	}
	both.NodePorts = nil
	k.write(table.Update(map[string][]Set{"a": {both}}))
	if k.Frontends[tcp("192.0.2.1:30080")].NodePort {
		t.Error("what is no node port any more is still marked")
	}
}

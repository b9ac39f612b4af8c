// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it makes BPF maps, none of them pinned.
package maps

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/service"
)

// someRings are n rings of ten backends each, by their numbers.
func someRings(n int) map[uint32]service.Ring {
	out := map[uint32]service.Ring{}
	for id := range n {
		r := service.Ring{Protocol: service.TCP}
		for i := range 10 {
			r.Slots = append(r.Slots, netip.MustParseAddrPort(fmt.Sprintf("10.%d.%d.%d:80", id/250, id%250, i+1)))
		}
		out[uint32(id)+1] = r
	}
	return out
}

// TestATableIsReplacedAsAWhole: what has been looked up before goes on saying the same.
func TestATableIsReplacedAsAWhole(t *testing.T) {
	m, byName := made(t)
	rings := someRings(2)
	first, second := rings[1], rings[2]
	slices.Reverse(second.Slots)
	lookUp := func() *ebpf.Map {
		t.Helper()
		var inner *ebpf.Map
		if err := byName["maglev"].Lookup(uint32(1), &inner); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { inner.Close() })
		return inner
	}
	want := func(of *ebpf.Map, ring service.Ring) {
		t.Helper()
		got := new(maglevTable)
		if err := of.Lookup(uint32(0), got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ring.Table(), got.Slots[:]); diff != "" || got.Sum != ring.Sum() {
			t.Errorf("sum %x, want %x; slots (-want +got):\n%s", got.Sum, ring.Sum(), diff)
		}
	}
	if err := m.putRings(map[uint32]service.Ring{1: first}); err != nil {
		t.Fatal(err)
	}
	old := lookUp()
	want(old, first)
	if err := m.putRings(map[uint32]service.Ring{1: second}); err != nil {
		t.Fatal(err)
	}
	want(old, first)
	want(lookUp(), second)
	if err := m.dropRings([]uint32{1, 1}); err != nil {
		t.Fatal(err)
	}
	if sums, err := m.rings(); err != nil || len(sums) > 0 {
		t.Errorf("left: %v, %v", sums, err)
	}
}

// BenchmarkRings: a table is computed and written, replaced, read by the next agent, and deleted.
func BenchmarkRings(b *testing.B) {
	m, _ := made(b)
	rings := someRings(1000)
	for name, deed := range map[string]func() error{
		"1 put":       func() error { return m.putRings(someRings(1)) },
		"2 put 1000":  func() error { return m.putRings(rings) },
		"3 read 1000": func() error { _, err := m.rings(); return err },
	} {
		b.Run(name, func(b *testing.B) {
			if err := m.putRings(rings); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := deed(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// ring has n backends; numbers name them.
func ring(from, n int) Ring {
	r := Ring{Protocol: TCP}
	for i := from; i < from+n; i++ {
		r.Slots = append(r.Slots, netip.MustParseAddrPort(fmt.Sprintf("10.0.%d.%d:8080", i/250, 1+i%250)))
	}
	return r
}

// named is the table as backends.
func named(r Ring) []netip.AddrPort {
	var out []netip.AddrPort
	for _, slot := range r.Table() {
		out = append(out, r.Slots[slot])
	}
	return out
}

func TestMaglevIsBalanced(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100, 1000, TableSize} {
		positions := map[netip.AddrPort]int{}
		for _, backend := range named(ring(0, n)) {
			positions[backend]++
		}
		least, most := TableSize, 0
		for _, count := range positions {
			least, most = min(least, count), max(most, count)
		}
		if len(positions) != n || most-least > 1 {
			t.Errorf("%d of %d backends have %d to %d positions each, want all, and the same number", len(positions), n, least, most)
		}
	}
}

func TestMaglevIsTheSameOnEveryNode(t *testing.T) {
	one := ring(0, 50)
	other := Ring{Protocol: TCP, Slots: slices.Clone(one.Slots)}
	slices.Reverse(other.Slots)
	if !slices.Equal(named(one), named(other)) {
		t.Error("the order of slots makes another table")
	}
	if one.Sum() == other.Sum() {
		t.Error("tables of other slots have the same sum")
	}
	if udp := (Ring{Protocol: UDP, Slots: one.Slots}); slices.Equal(named(one), named(udp)) {
		t.Error("the protocol makes no difference")
	}
}

// TestMaglevMovesFew compares how many clients of those whose backend stays are led elsewhere.
func TestMaglevMovesFew(t *testing.T) {
	tests := map[string]struct {
		before, after Ring
		// most is the share of positions, in percent.
		most float64
	}{
		"one of 2 goes":               {ring(0, 2), ring(1, 1), 0},
		"one of 3 goes":               {ring(0, 3), ring(1, 2), 1},
		"one of 10 goes":              {ring(0, 10), ring(1, 9), 1},
		"one of 10 is replaced":       {ring(0, 10), ring(1, 10), 1},
		"one comes to 10":             {ring(0, 10), ring(0, 11), 1},
		"one of 100 goes":             {ring(0, 100), ring(1, 99), 2},
		"one comes to 100":            {ring(0, 100), ring(0, 101), 2},
		"10 of 100 go, as for a node": {ring(0, 100), ring(10, 90), 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before, after := named(tt.before), named(tt.after)
			moved, changed := 0, 0
			for i := range before {
				if before[i] == after[i] {
					continue
				}
				changed++
				if slices.Contains(tt.after.Slots, before[i]) && slices.Contains(tt.before.Slots, after[i]) {
					moved++
				}
			}
			share := 100 * float64(moved) / TableSize
			t.Logf("%.2f %% of all positions change, %.2f %% between backends that stay", 100*float64(changed)/TableSize, share)
			if share > tt.most {
				t.Errorf("%.2f %% move between backends that stay, want at most %.2f %%", share, tt.most)
			}
		})
	}
}

func BenchmarkMaglev(b *testing.B) {
	for _, n := range []int{2, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := ring(0, n)
			for b.Loop() {
				r.Table()
			}
		})
	}
}

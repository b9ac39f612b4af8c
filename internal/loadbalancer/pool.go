// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loadbalancer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ciliate-io/ciliate/internal/ipam"
)

// maxCount is where counting stops: it fits an int64, and nobody has that many Services.
const maxCount = int64(1) << 62

// Range is all addresses from First to Last, both of one family.
type Range struct{ First, Last netip.Addr }

// Between is the range of two addresses.
func Between(first, last netip.Addr) (Range, error) {
	r := Range{First: first, Last: last}
	switch {
	case ipam.FamilyOf(first) != ipam.FamilyOf(last):
		return Range{}, fmt.Errorf("%s and %s are of different families", first, last)
	case last.Less(first):
		return Range{}, fmt.Errorf("%s comes after %s", first, last)
	}
	return r, nil
}

// Of is the range of a prefix. Without its edges, it lacks the first and the last address, if there are more than two.
func Of(p netip.Prefix, edges Edges) Range {
	r := Range{First: p.Masked().Addr(), Last: last(p)}
	if edges == WithEdges || p.Addr().BitLen()-p.Bits() < 2 {
		return r
	}
	return Range{First: r.First.Next(), Last: r.Last.Prev()}
}

// Edges says whether the first and the last address of a prefix count.
type Edges int

// The two ways.
const (
	WithEdges Edges = iota
	WithoutEdges
)

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

func (r Range) contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && !a.Less(r.First) && !r.Last.Less(a)
}

func (r Range) overlaps(o Range) bool { return r.contains(o.First) || o.contains(r.First) }

// count stops at maxCount.
func (r Range) count() int64 {
	first, last := r.First.As16(), r.Last.As16()
	high := binary.BigEndian.Uint64(last[:8]) - binary.BigEndian.Uint64(first[:8])
	low := binary.BigEndian.Uint64(last[8:]) - binary.BigEndian.Uint64(first[8:])
	if binary.BigEndian.Uint64(last[8:]) < binary.BigEndian.Uint64(first[8:]) {
		high--
	}
	if high > 0 || low >= uint64(maxCount) {
		return maxCount
	}
	return int64(low) + 1
}

// Pool is where addresses come from.
type Pool struct {
	Name   string
	Ranges []Range
	// Closed pools give nothing, but who has an address of theirs keeps it.
	Closed bool
}

func (p *Pool) contains(a netip.Addr) bool {
	return slices.ContainsFunc(p.Ranges, func(r Range) bool { return r.contains(a) })
}

// families are those of its ranges, IPv4 first.
func (p *Pool) families() []ipam.Family {
	var out []ipam.Family
	for _, r := range p.Ranges {
		if f := ipam.FamilyOf(r.First); !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

// Merge is the same addresses in ranges that are apart, each address once. The order stays that of the first addresses
// given.
func Merge(ranges []Range) []Range {
	var out []Range
	for _, r := range ranges {
		at := len(out)
		for i := 0; i < len(out); {
			if !out[i].overlaps(r) {
				i++
				continue
			}
			r = Range{First: lowest(r.First, out[i].First), Last: highest(r.Last, out[i].Last)}
			at = min(at, i)
			out = slices.Delete(out, i, i+1)
		}
		out = slices.Insert(out, min(at, len(out)), r)
	}
	return out
}

func lowest(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return a
	}
	return b
}

func highest(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

// Conflicts tells for each pool that shares an address with an earlier one which that is. A pool that conflicts itself
// stands in nobody's way.
func Conflicts(pools []Pool) map[string]string {
	found := map[string]string{}
	for i, p := range pools {
		for _, earlier := range pools[:i] {
			if _, out := found[earlier.Name]; !out && overlap(p.Ranges, earlier.Ranges) {
				found[p.Name] = earlier.Name
				break
			}
		}
	}
	return found
}

func overlap(a, b []Range) bool {
	return slices.ContainsFunc(a, func(r Range) bool { return slices.ContainsFunc(b, r.overlaps) })
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"fmt"
	"net/netip"
)

// ClusterPool gives the nodes of a cluster ranges of one family, cut from CIDRs in their order. It is not for several
// goroutines.
type ClusterPool struct {
	cidrs    []netip.Prefix
	maskSize int
	holders  map[netip.Prefix]string
	ranges   map[string][]netip.Prefix
	// odd are the ranges with holders whose size is not maskSize.
	odd map[netip.Prefix]bool
	// cursor is the place from which on nothing was given yet: everything before it was looked at and is taken.
	cursor cursor
}

// cursor is a place in the sequence of all ranges.
type cursor struct {
	cidr   int
	offset uint64
}

// NewClusterPool makes a pool. The CIDRs must be of one family, large enough for a range, and must not overlap.
func NewClusterPool(cidrs []netip.Prefix, maskSize int) (*ClusterPool, error) {
	p := &ClusterPool{holders: map[netip.Prefix]string{}, ranges: map[string][]netip.Prefix{}}
	return p, p.Configure(cidrs, maskSize)
}

// Configure changes CIDRs and size for the ranges to come; whoever has a range keeps it.
func (p *ClusterPool) Configure(cidrs []netip.Prefix, maskSize int) error {
	for _, c := range cidrs {
		switch {
		case FamilyOf(c.Addr()) != FamilyOf(cidrs[0].Addr()):
			return fmt.Errorf("CIDR %s is not of the family of %s", c, cidrs[0])
		case maskSize < c.Bits() || maskSize > c.Addr().BitLen():
			return fmt.Errorf("no range of mask size %d can be cut from CIDR %s", maskSize, c)
		}
	}
	if a, b, found := Overlaps(cidrs); found {
		return fmt.Errorf("CIDR %s overlaps %s", a, b)
	}
	p.cidrs, p.maskSize, p.cursor, p.odd = cidrs, maskSize, cursor{}, map[netip.Prefix]bool{}
	for r := range p.holders {
		p.noteSize(r)
	}
	return nil
}

// Capacity is how many ranges the CIDRs hold, given away or not; it stops at 2^62.
func (p *ClusterPool) Capacity() uint64 {
	sum := uint64(0)
	for _, cidr := range p.cidrs {
		sum = min(sum+p.count(cidr), maxCapacity)
	}
	return sum
}

// Of are the ranges of a node.
func (p *ClusterPool) Of(owner string) []netip.Prefix { return p.ranges[owner] }

// Adopt records that a node has a range already, inside of the CIDRs or not. It refuses one that overlaps another's.
func (p *ClusterPool) Adopt(owner string, have netip.Prefix) error {
	if p.holders[have] == owner {
		return nil
	}
	for taken, holder := range p.holders {
		if taken.Overlaps(have) {
			return fmt.Errorf("range %s of %s overlaps range %s of %s", have, owner, taken, holder)
		}
	}
	p.hold(owner, have)
	return nil
}

// Infer records that a node must have had the range around an address, unless some node has that already or the address
// is outside the CIDRs.
func (p *ClusterPool) Infer(owner string, addr netip.Addr) {
	for _, cidr := range p.cidrs {
		if r := netip.PrefixFrom(addr, p.maskSize).Masked(); cidr.Contains(addr) && !p.taken(r) {
			p.hold(owner, r)
		}
	}
}

func (p *ClusterPool) hold(owner string, have netip.Prefix) {
	p.holders[have] = owner
	p.ranges[owner] = append(p.ranges[owner], have)
	p.noteSize(have)
}

func (p *ClusterPool) noteSize(r netip.Prefix) {
	if r.Bits() != p.maskSize {
		p.odd[r] = true
	}
}

// Allocate gives a node the first range that is free, or the one that it has.
func (p *ClusterPool) Allocate(owner string) (netip.Prefix, error) {
	if have := p.ranges[owner]; len(have) > 0 {
		return have[0], nil
	}
	for ; p.cursor.cidr < len(p.cidrs); p.cursor = (cursor{cidr: p.cursor.cidr + 1}) {
		cidr := p.cidrs[p.cursor.cidr]
		for ; p.cursor.offset < p.count(cidr); p.cursor.offset++ {
			next := p.cut(cidr, p.cursor.offset)
			if !p.taken(next) {
				p.hold(owner, next)
				return next, nil
			}
		}
	}
	return netip.Prefix{}, ErrExhausted
}

// count is how many ranges a CIDR has; it stops at 2^62.
func (p *ClusterPool) count(cidr netip.Prefix) uint64 {
	bits := p.maskSize - cidr.Bits()
	if bits >= 62 {
		return maxCapacity
	}
	return 1 << bits
}

func (p *ClusterPool) cut(cidr netip.Prefix, n uint64) netip.Prefix {
	base := cidr.Masked().Addr()
	return netip.PrefixFrom(plus(base, n, base.BitLen()-p.maskSize), p.maskSize)
}

// taken tells whether a range overlaps one that a node has. Ranges of the size in force need one look; the others were
// adopted, and are few.
func (p *ClusterPool) taken(r netip.Prefix) bool {
	if _, ok := p.holders[r]; ok {
		return true
	}
	for odd := range p.odd {
		if odd.Overlaps(r) {
			return true
		}
	}
	return false
}

// Release takes a node's ranges back.
func (p *ClusterPool) Release(owner string) {
	for _, r := range p.ranges[owner] {
		delete(p.holders, r)
		delete(p.odd, r)
	}
	delete(p.ranges, owner)
	p.cursor = cursor{}
}

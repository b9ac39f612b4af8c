// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
)

// Family is the family of an address.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf is the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// String is the family's name.
func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// maxCapacity is where counting stops: no node has that many pods, and it fits an int64.
const maxCapacity = uint64(1) << 62

// usable are the addresses of p that a host can have, as the first offset into p and how many follow from there. An
// IPv4 range loses its network and broadcast address, an IPv6 range the anycast address of its routers; a point-to-point
// or single-address range loses none.
func usable(p netip.Prefix) (first, count uint64) {
	bits := p.Addr().BitLen() - p.Bits()
	if bits <= 1 {
		return 0, 1 << bits
	}
	count = maxCapacity
	if bits < 62 {
		count = 1<<bits - 1
	}
	if p.Addr().Is4() {
		count--
	}
	return 1, count
}

// Router is the first usable address of p: the gateway of its pods, on the node itself.
func Router(p netip.Prefix) netip.Addr {
	first, _ := usable(p)
	return addrAt(p, first)
}

// Overlaps finds two prefixes of the list that share an address. Prefixes nest or are apart, so that in their order an
// overlap always shows between neighbours.
func Overlaps(list []netip.Prefix) (a, b netip.Prefix, found bool) {
	sorted := slices.SortedFunc(slices.Values(list), netip.Prefix.Compare)
	for i := 1; i < len(sorted); i++ {
		if sorted[i-1].Overlaps(sorted[i]) {
			return sorted[i-1], sorted[i], true
		}
	}
	return netip.Prefix{}, netip.Prefix{}, false
}

// addrAt is the address at an offset into p, which lies inside of it.
func addrAt(p netip.Prefix, offset uint64) netip.Addr {
	return plus(p.Masked().Addr(), offset, 0)
}

// plus adds n<<shift to a.
func plus(a netip.Addr, n uint64, shift int) netip.Addr {
	if a.Is4() {
		b := a.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n<<shift))
		return netip.AddrFrom4(b)
	}
	b := a.As16()
	high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	addHigh, addLow := shifted(n, shift)
	sum := low + addLow
	if sum < low {
		high++
	}
	binary.BigEndian.PutUint64(b[:8], high+addHigh)
	binary.BigEndian.PutUint64(b[8:], sum)
	return netip.AddrFrom16(b)
}

// shifted is n<<shift in 128 bits.
func shifted(n uint64, shift int) (high, low uint64) {
	if shift >= 64 {
		return n << (shift - 64), 0
	}
	if shift == 0 {
		return 0, n
	}
	return n >> (64 - shift), n << shift
}

// offsetOf is the offset of a, which lies inside of p, into p. It stops at the largest number.
func offsetOf(p netip.Prefix, a netip.Addr) uint64 {
	if a.Is4() {
		base, x := p.Masked().Addr().As4(), a.As4()
		return uint64(binary.BigEndian.Uint32(x[:]) - binary.BigEndian.Uint32(base[:]))
	}
	base, x := p.Masked().Addr().As16(), a.As16()
	if !bytes.Equal(base[:8], x[:8]) {
		return math.MaxUint64
	}
	return binary.BigEndian.Uint64(x[8:]) - binary.BigEndian.Uint64(base[8:])
}

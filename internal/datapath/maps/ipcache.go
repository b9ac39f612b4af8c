// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// Identities of what no route speaks of.
const (
	worldIPv4 datapath.Identity = 9
	worldIPv6 datapath.Identity = 10
)

// mappedBits is how many bits of a 16-byte key stand before an IPv4 address.
const mappedBits = 96

// table is the ipcache as its two maps hold it: full addresses apart, because a hash answers ten times faster.
type table struct {
	addresses map[[16]byte]bpfgen.IpcacheEntry
	ranges    map[bpfgen.CIDRKey]bpfgen.IpcacheEntry
}

// layOut turns routes into entries; of two for the same prefix the later one counts.
func layOut(routes []datapath.Route) table {
	t := table{addresses: map[[16]byte]bpfgen.IpcacheEntry{}, ranges: map[bpfgen.CIDRKey]bpfgen.IpcacheEntry{}}
	for _, r := range routes {
		e := bpfgen.IpcacheEntry{Identity: uint32(r.Identity)}
		e.Node.B = key(r.Node)
		if r.Prefix.IsSingleIP() {
			t.addresses[key(r.Prefix.Addr())] = e
		} else {
			t.ranges[cidrKey(r.Prefix)] = e
		}
	}
	return t
}

// worlds are the entries that always exist: without them an IPv4 address could be answered by a short IPv6 prefix.
func worlds() []datapath.Route {
	return []datapath.Route{
		{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Identity: worldIPv4},
		{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Identity: worldIPv6},
	}
}

// SyncRoutes makes the ipcache hold these routes, the two worlds and nothing else. A route for a whole family replaces
// its world.
func (m *Maps) SyncRoutes(want []datapath.Route) error {
	t := layOut(append(worlds(), want...))
	if err := sync(m.cidrs, t.ranges); err != nil {
		return err
	}
	return sync(m.ipcache, t.addresses)
}

// PutRoutes adds or overwrites routes.
func (m *Maps) PutRoutes(routes []datapath.Route) error {
	t := layOut(routes)
	if err := put(m.cidrs, t.ranges); err != nil {
		return err
	}
	return put(m.ipcache, t.addresses)
}

// DeleteRoutes removes routes; one that is not there is no error. Of a whole family the world remains.
func (m *Maps) DeleteRoutes(prefixes []netip.Prefix) error {
	var addresses [][16]byte
	var ranges []bpfgen.CIDRKey
	for _, p := range prefixes {
		switch {
		case p.IsSingleIP():
			addresses = append(addresses, key(p.Addr()))
		case p.Bits() == 0:
			if err := m.PutRoutes(slices.DeleteFunc(worlds(), func(r datapath.Route) bool { return r.Prefix != p })); err != nil {
				return err
			}
		default:
			ranges = append(ranges, cidrKey(p))
		}
	}
	if err := drop(m.ipcache, addresses); err != nil {
		return err
	}
	return drop(m.cidrs, ranges)
}

// Routes returns all entries, the worlds among them, sorted by prefix.
func (m *Maps) Routes() ([]datapath.Route, error) {
	addresses, err := dump[[16]byte, bpfgen.IpcacheEntry](m.ipcache)
	if err != nil {
		return nil, err
	}
	ranges, err := dump[bpfgen.CIDRKey, bpfgen.IpcacheEntry](m.cidrs)
	if err != nil {
		return nil, err
	}
	out := make([]datapath.Route, 0, len(addresses)+len(ranges))
	for k, e := range addresses {
		a := addr(k)
		out = append(out, route(netip.PrefixFrom(a, a.BitLen()), e))
	}
	for k, e := range ranges {
		out = append(out, route(prefix(k), e))
	}
	slices.SortFunc(out, func(a, b datapath.Route) int { return a.Prefix.Compare(b.Prefix) })
	return out, nil
}

func route(p netip.Prefix, e bpfgen.IpcacheEntry) datapath.Route {
	return datapath.Route{Prefix: p, Identity: datapath.Identity(e.Identity), Node: addr(e.Node.B)}
}

func cidrKey(p netip.Prefix) bpfgen.CIDRKey {
	p = p.Masked()
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += mappedBits
	}
	return bpfgen.CIDRKey{PrefixLen: uint32(bits), Addr: p.Addr().As16()}
}

func prefix(k bpfgen.CIDRKey) netip.Prefix {
	a := netip.AddrFrom16(k.Addr)
	if a.Is4In6() && k.PrefixLen >= mappedBits {
		return netip.PrefixFrom(a.Unmap(), int(k.PrefixLen)-mappedBits)
	}
	return netip.PrefixFrom(a, int(k.PrefixLen))
}

// PutWorlds makes both worlds exist where the map does not say otherwise; it is called before any program runs.
func (m *Maps) PutWorlds() error {
	for k, e := range layOut(worlds()).ranges {
		if err := m.cidrs.Update(k, e, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("write the world to the ipcache: %w", err)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Maps are the maps of one node.
type Maps struct {
	endpoints, endpointIfs, ipcache, cidrs, identities, fragments, metrics, node *ebpf.Map
	frontends, backends, reverse, affinities                                     *ebpf.Map
	sourceRanges, hostServes, maglev                                             *ebpf.Map
	conntrackTCP, conntrackOther, cards, wires                                   *ebpf.Map
	announcements                                                                *ebpf.Map
}

// New takes maps by their names; all must be there. They stay the caller's to close.
func New(byName map[string]*ebpf.Map) (*Maps, error) {
	m := &Maps{}
	for name, field := range m.fields() {
		if *field = byName[name]; *field == nil {
			return nil, fmt.Errorf("map %s is missing", name)
		}
	}
	return m, nil
}

// fields is the table of names.
func (m *Maps) fields() map[string]**ebpf.Map {
	return map[string]**ebpf.Map{
		"endpoints":       &m.endpoints,
		"endpoint_ifs":    &m.endpointIfs,
		"ipcache":         &m.ipcache,
		"ipcache_cidrs":   &m.cidrs,
		"identities":      &m.identities,
		"fragments":       &m.fragments,
		"metrics":         &m.metrics,
		"node":            &m.node,
		"frontends":       &m.frontends,
		"backends":        &m.backends,
		"reverse":         &m.reverse,
		"affinities":      &m.affinities,
		"announcements":   &m.announcements,
		"conntrack_tcp":   &m.conntrackTCP,
		"conntrack_other": &m.conntrackOther,
		"cards":           &m.cards,
		"wires":           &m.wires,
		"source_ranges":   &m.sourceRanges,
		"host_serves":     &m.hostServes,
		"maglev":          &m.maglev,
	}
}

// key is an address as the maps know it: 16 bytes, IPv4 mapped. The zero Addr is all zero.
func key(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

// addr is the reverse of key.
func addr(k [16]byte) netip.Addr {
	if k == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(k).Unmap()
}

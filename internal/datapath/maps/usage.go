// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// Usage returns the fill level of each map that can become full, in a fixed order.
func (m *Maps) Usage() ([]datapath.MapUsage, error) {
	counters := []struct {
		of    *ebpf.Map
		count func(*ebpf.Map) (int, error)
	}{
		{m.endpoints, count[[16]byte, bpfgen.Endpoint]},
		{m.endpointIfs, count[uint32, bpfgen.EndpointIf]},
		{m.ipcache, count[[16]byte, bpfgen.IpcacheEntry]},
		{m.cidrs, count[bpfgen.CIDRKey, bpfgen.IpcacheEntry]},
		{m.identities, count[uint32, uint32]},
		{m.fragments, count[bpfgen.FragmentKey, bpfgen.FragmentPorts]},
		{m.conntrackTCP, count[bpfgen.Tuple, bpfgen.Connection]},
		{m.conntrackOther, count[bpfgen.Tuple, bpfgen.Connection]},
		{m.cards, count[uint32, bpfgen.Card]},
		{m.sourceRanges, count[bpfgen.SourceRangeKey, uint32]},
		{m.frontends, count[bpfgen.FrontendKey, bpfgen.Frontend]},
		{m.backends, count[bpfgen.BackendKey, bpfgen.Peer]},
		{m.maglev, count[uint32, uint32]},
		{m.reverse, count[bpfgen.ReverseKey, bpfgen.Peer]},
		{m.affinities, count[bpfgen.AffinityKey, bpfgen.Affinity]},
		{m.announcements, count[bpfgen.AnnouncementKey, bpfgen.Announcement]},
	}
	out := make([]datapath.MapUsage, 0, len(counters))
	for _, c := range counters {
		n, err := c.count(c.of)
		if err != nil {
			return nil, err
		}
		out = append(out, datapath.MapUsage{Name: name(c.of), Entries: n, MaxEntries: int(c.of.MaxEntries())})
	}
	return out, nil
}

// count counts without keeping anything.
func count[K, V any](m *ebpf.Map) (int, error) {
	n := 0
	err := each(m, func(keys []K, _ []V) { n += len(keys) })
	return n, err
}

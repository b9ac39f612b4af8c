// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
	"github.com/ciliate-io/ciliate/internal/service"
)

// Services returns what the maps of Services hold.
func (m *Maps) Services() (service.State, error) {
	state := service.State{
		Frontends: map[service.Frontend]service.Entry{}, Backends: map[service.Slot]netip.AddrPort{},
		Sources: map[uint32][]netip.Prefix{},
	}
	frontends, err := dump[bpfgen.FrontendKey, bpfgen.Frontend](m.frontends)
	if err != nil {
		return state, err
	}
	backends, err := dump[bpfgen.BackendKey, bpfgen.Peer](m.backends)
	if err != nil {
		return state, err
	}
	for k, f := range frontends {
		frontend := service.Frontend{
			Addr: addrPort(k.Addr.B, k.Port), Protocol: service.Protocol(k.Protocol), Scope: service.Scope(k.Scope),
		}
		state.Frontends[frontend] = service.Entry{
			ID: f.Id, Count: f.Count, Affinity: time.Duration(f.AffinitySeconds) * time.Second,
			Local: f.Flags&frontendLocal != 0, Guarded: f.Flags&frontendGuarded != 0,
			Maglev: f.Flags&frontendMaglev != 0, NodePort: f.Flags&frontendNodePort != 0,
		}
	}
	for k, p := range backends {
		state.Backends[service.Slot{ID: k.Id, Index: k.Slot}] = addrPort(p.Addr.B, p.Port)
	}
	sources, err := dump[bpfgen.SourceRangeKey, uint32](m.sourceRanges)
	if err != nil {
		return state, err
	}
	for k := range sources {
		at := prefix(bpfgen.CIDRKey{PrefixLen: k.PrefixLen - numberBits, Addr: k.Addr})
		state.Sources[k.Id] = append(state.Sources[k.Id], at)
	}
	for _, of := range state.Sources {
		slices.SortFunc(of, netip.Prefix.Compare)
	}
	state.Rings, err = m.rings()
	return state, err
}

// WriteServices writes in the order of the difference: backends before the tables and frontends that lead to them, and all
// gone in the reverse order.
func (m *Maps) WriteServices(d service.Diff) error {
	backends := make(map[bpfgen.BackendKey]bpfgen.Peer, len(d.PutBackends))
	for slot, addr := range d.PutBackends {
		backends[backendKey(slot)] = peer(addr)
	}
	frontends := make(map[bpfgen.FrontendKey]bpfgen.Frontend, len(d.PutFrontends))
	for frontend, e := range d.PutFrontends {
		frontends[frontendKey(frontend)] = bpfgen.Frontend{
			Id: e.ID, Count: e.Count, AffinitySeconds: seconds(e.Affinity), Flags: flags(e),
		}
	}
	var goneFrontends []bpfgen.FrontendKey
	for _, frontend := range d.DeleteFrontends {
		goneFrontends = append(goneFrontends, frontendKey(frontend))
	}
	var goneBackends []bpfgen.BackendKey
	for _, slot := range d.DeleteBackends {
		goneBackends = append(goneBackends, backendKey(slot))
	}
	sources := make(map[bpfgen.SourceRangeKey]uint32, len(d.PutSources))
	for _, s := range d.PutSources {
		sources[sourceKey(s)] = 1
	}
	var goneSources []bpfgen.SourceRangeKey
	for _, s := range d.DeleteSources {
		goneSources = append(goneSources, sourceKey(s))
	}
	if err := put(m.sourceRanges, sources); err != nil {
		return err
	}
	if err := put(m.backends, backends); err != nil {
		return err
	}
	if err := m.putRings(d.PutRings); err != nil {
		return err
	}
	if err := put(m.frontends, frontends); err != nil {
		return err
	}
	if err := drop(m.frontends, goneFrontends); err != nil {
		return err
	}
	if err := m.dropRings(d.DeleteRings); err != nil {
		return err
	}
	if err := drop(m.backends, goneBackends); err != nil {
		return err
	}
	return drop(m.sourceRanges, goneSources)
}

// ServiceCapacity is how much of Services the maps can hold.
func (m *Maps) ServiceCapacity() service.Capacity {
	return service.Capacity{
		Frontends: int(m.frontends.MaxEntries()), Backends: int(m.backends.MaxEntries()),
		Sources: int(m.sourceRanges.MaxEntries()), Rings: int(m.maglev.MaxEntries()),
	}
}

// CameByService tells whether the socket with this cookie was led to the backend by one of our programs.
func (m *Maps) CameByService(cookie uint64, backend netip.AddrPort) (bool, error) {
	var frontend bpfgen.Peer
	err := m.reverse.Lookup(bpfgen.ReverseKey{Socket: cookie, Backend: peer(backend)}, &frontend)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the frontend of socket %d: %w", cookie, err)
	}
	return true, nil
}

func frontendKey(f service.Frontend) bpfgen.FrontendKey {
	k := bpfgen.FrontendKey{Port: bits.ReverseBytes16(f.Addr.Port()), Protocol: uint8(f.Protocol), Scope: uint8(f.Scope)}
	k.Addr.B = key(f.Addr.Addr())
	return k
}

// Flags of a frontend, as bpf/lib/types.h has them.
const (
	frontendLocal    = 1
	frontendGuarded  = 2
	frontendMaglev   = 4
	frontendNodePort = 8
)

func flags(e service.Entry) (out uint8) {
	if e.Local {
		out |= frontendLocal
	}
	if e.Guarded {
		out |= frontendGuarded
	}
	if e.Maglev {
		out |= frontendMaglev
	}
	if e.NodePort {
		out |= frontendNodePort
	}
	return out
}

// numberBits is how many bits of a source's key stand before its range.
const numberBits = 32

func sourceKey(s service.Source) bpfgen.SourceRangeKey {
	k := cidrKey(s.Prefix)
	return bpfgen.SourceRangeKey{PrefixLen: k.PrefixLen + numberBits, Id: s.ID, Addr: k.Addr}
}

func backendKey(s service.Slot) bpfgen.BackendKey { return bpfgen.BackendKey{Id: s.ID, Slot: s.Index} }

func peer(a netip.AddrPort) bpfgen.Peer {
	p := bpfgen.Peer{Port: bits.ReverseBytes16(a.Port())}
	p.Addr.B = key(a.Addr())
	return p
}

// addrPort reads what frontendKey and peer write: ports are in network byte order, and this is a little-endian machine
// (the objects are compiled for no other).
func addrPort(address [16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(addr(address), bits.ReverseBytes16(port))
}

func seconds(d time.Duration) uint32 { return uint32(min(d/time.Second, math.MaxUint32)) }

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package contract

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciliate-io/ciliate/internal/service"
)

func services(t *testing.T, n Node) {
	d := n.Datapath
	four := service.Frontend{Addr: netip.MustParseAddrPort("10.96.0.10:53"), Protocol: service.UDP}
	six := service.Frontend{Addr: netip.MustParseAddrPort("[fd00:96::a]:53"), Protocol: service.TCP}
	first, second := netip.MustParseAddrPort("10.0.1.7:5353"), netip.MustParseAddrPort("[fd00:1::7]:5353")
	wantServices(t, n, service.State{})

	must(t, d.WriteServices(service.Diff{
		PutBackends: map[service.Slot]netip.AddrPort{{ID: 7, Index: 0}: first, {ID: 8, Index: 0}: second},
		PutFrontends: map[service.Frontend]service.Entry{
			four: {ID: 7, Count: 1, Affinity: time.Minute}, six: {ID: 8, Count: 1},
		},
	}))
	wantServices(t, n, service.State{
		Frontends: map[service.Frontend]service.Entry{
			four: {ID: 7, Count: 1, Affinity: time.Minute}, six: {ID: 8, Count: 1},
		},
		Backends: map[service.Slot]netip.AddrPort{{ID: 7, Index: 0}: first, {ID: 8, Index: 0}: second},
	})

	change := service.Diff{
		PutFrontends:    map[service.Frontend]service.Entry{six: {ID: 8}},
		DeleteFrontends: []service.Frontend{four},
		DeleteBackends:  []service.Slot{{ID: 7, Index: 0}, {ID: 8, Index: 0}},
	}
	for range 2 {
		must(t, d.WriteServices(change))
		wantServices(t, n, service.State{Frontends: map[service.Frontend]service.Entry{six: {ID: 8}}})
	}
	range4, range6 := netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")
	world := service.Frontend{Addr: netip.MustParseAddrPort("192.0.2.7:80"), Protocol: service.TCP, Scope: service.OfWorld}
	guarded := service.Diff{
		PutSources:   []service.Source{{ID: 9, Prefix: range4}, {ID: 9, Prefix: range6}, {ID: 10, Prefix: range4}},
		PutFrontends: map[service.Frontend]service.Entry{world: {ID: 9, Local: true, Guarded: true}},
	}
	must(t, d.WriteServices(guarded))
	wantServices(t, n, service.State{
		Frontends: map[service.Frontend]service.Entry{six: {ID: 8}, world: {ID: 9, Local: true, Guarded: true}},
		Sources:   map[uint32][]netip.Prefix{9: {range4, range6}, 10: {range4}},
	})
	must(t, d.WriteServices(service.Diff{
		DeleteFrontends: []service.Frontend{world}, DeleteSources: guarded.PutSources[:2],
	}))
	wantServices(t, n, service.State{
		Frontends: map[service.Frontend]service.Entry{six: {ID: 8}}, Sources: map[uint32][]netip.Prefix{10: {range4}},
	})
	ring := service.Ring{Protocol: service.TCP, Slots: []netip.AddrPort{first, netip.MustParseAddrPort("10.0.1.8:5353")}}
	turned := service.Ring{Protocol: service.TCP, Slots: []netip.AddrPort{ring.Slots[1], ring.Slots[0]}}
	balanced := service.Entry{ID: 11, Count: 2, Maglev: true, NodePort: true}
	must(t, d.WriteServices(service.Diff{
		PutRings:     map[uint32]service.Ring{11: ring, 12: ring},
		PutFrontends: map[service.Frontend]service.Entry{world: balanced}, DeleteFrontends: []service.Frontend{six},
		DeleteSources: guarded.PutSources[2:],
	}))
	wantServices(t, n, service.State{
		Frontends: map[service.Frontend]service.Entry{world: balanced},
		Rings:     map[uint32]uint64{11: ring.Sum(), 12: ring.Sum()},
	})
	for range 2 {
		must(t, d.WriteServices(service.Diff{PutRings: map[uint32]service.Ring{11: turned}, DeleteRings: []uint32{12}}))
		wantServices(t, n, service.State{
			Frontends: map[service.Frontend]service.Entry{world: balanced}, Rings: map[uint32]uint64{11: turned.Sum()},
		})
	}
	must(t, d.DestroySockets(t.Context(), []service.Backend{{Addr: first, Protocol: service.UDP}}))
	if c := d.ServiceCapacity(); c.Frontends <= 0 || c.Backends <= 0 || c.Sources <= 0 || c.Rings <= 0 {
		t.Errorf("capacity = %+v, want room", c)
	}
}

func sweep(t *testing.T, n Node) {
	for range 2 {
		must(t, n.Datapath.SweepConnections())
	}
}

func wantServices(t *testing.T, n Node, want service.State) {
	t.Helper()
	got, err := n.Datapath.Services()
	must(t, err)
	plain := cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{}, service.Frontend{}, service.Slot{})
	if diff := cmp.Diff(want, got, plain, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}

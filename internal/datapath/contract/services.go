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
	must(t, d.DestroySockets(t.Context(), []service.Backend{{Addr: first, Protocol: service.UDP}}))
	if c := d.ServiceCapacity(); c.Frontends <= 0 || c.Backends <= 0 {
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

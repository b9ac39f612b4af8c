//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// empty deletes every entry of a map.
func (b *bench) empty(t *testing.T, name string) {
	t.Helper()
	m := b.objects.Map(name)
	for {
		key, err := m.NextKeyBytes(nil)
		must(t, err)
		if key == nil {
			return
		}
		must(t, m.Delete(key))
	}
}

// TestWithEmptyMaps needs root: what is not known is never allowed.
func TestWithEmptyMaps(t *testing.T) {
	remote := tunnel{there4, identityRemote}
	for name, c := range map[string]struct {
		config loader.Config
		empty  []string
		run    run
		action uint32
		mark   uint32
		row    []row
	}{
		"no endpoint behind the device, out": {
			empty: []string{"endpoint_ifs"}, run: run{program: "from_pod", in: frame{src: podA4, dst: podB4}},
			action: drop, row: egressOf("ENDPOINT_NOT_READY"),
		},
		"no endpoint behind the device, in": {
			empty: []string{"endpoint_ifs"}, run: run{program: "to_pod", in: frame{src: router4, dst: podA4}},
			action: drop, row: ingressOf("ENDPOINT_NOT_READY"),
		},
		"no endpoint with the address": {
			empty: []string{"endpoints", "ipcache"}, run: run{program: "from_pod", in: frame{src: podA4, dst: podB4}},
			action: drop, row: egressOf("STALE_OR_UNROUTABLE_IP"),
		},
		"no endpoint with the address, from the tunnel": {
			empty: []string{"endpoints"}, run: run{in: frame{src: remotePod4, dst: podA4}, tunnel: remote},
			action: drop, row: ingressOf("NO_LOCAL_POD"),
		},
		"no endpoint with the address, from the card": {
			config: loader.Config{Native: true}, empty: []string{"endpoints"},
			run: run{program: "from_netdev", in: frame{src: remotePod4, dst: podA4}}, action: next,
		},
		"nothing known of any address": {
			empty: []string{"ipcache", "ipcache_cidrs"}, run: run{program: "from_pod", in: frame{src: podA4, dst: world4}},
			action: drop, row: egressOf("UNKNOWN_TARGET"),
		},
		"nothing known of any sender": {
			empty: []string{"ipcache", "ipcache_cidrs"}, run: run{program: "to_pod", in: frame{src: world4, dst: podA4}},
			action: drop, row: ingressOf("UNKNOWN_SENDER"),
		},
		"nothing known of any sender, from the tunnel": {
			empty: []string{"ipcache", "ipcache_cidrs"}, run: run{in: frame{src: remotePod4, dst: podA4}, tunnel: remote},
			action: drop, row: ingressOf("UNKNOWN_SENDER"),
		},
		"nothing known of any sender, into the tunnel": {
			empty: []string{"ipcache", "ipcache_cidrs"}, run: run{program: "to_overlay", in: frame{src: router4, dst: remotePod4}},
			action: drop, row: egressOf("INVALID_SOURCE_IP"),
		},
		"nothing known of any sender, from the card": {
			config: loader.Config{Native: true}, empty: []string{"ipcache", "ipcache_cidrs"},
			run: run{program: "from_netdev", in: frame{src: remotePod4, dst: podA4}}, action: next,
		},
		"no identity known": {
			empty: []string{"identities"}, run: run{in: frame{src: remotePod4, dst: podA4}, tunnel: remote},
			action: drop, row: ingressOf("INVALID_IDENTITY"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.config)
			for _, m := range c.empty {
				b.empty(t, m)
			}
			c.run.in = b.fromA(c.run.in)
			b.check(t, map[string]step{"the packet": {run: c.run, wantAction: c.action, wantMark: c.mark, wantCounted: c.row}})
		})
	}
}

// TestWithoutATunnelDevice needs root.
func TestWithoutATunnelDevice(t *testing.T) {
	b := newBench(t, loader.Config{})
	must(t, b.maps.SetNode(maps.NodeConfig{}))
	b.check(t, map[string]step{"to a pod elsewhere": {
		run:        run{program: "from_pod", in: b.fromA(frame{src: podA4, dst: remotePod4})},
		wantAction: drop, wantCounted: egressOf("NO_TUNNEL_ENDPOINT"),
	}})
}

// TestRoutesThatRefuse needs root: native routing obeys the host's blackholes.
func TestRoutesThatRefuse(t *testing.T) {
	b := newBench(t, loader.Config{Native: true})
	steps := map[string]step{}
	for name, kind := range map[string]int{"blackhole": unix.RTN_BLACKHOLE, "unreachable": unix.RTN_UNREACHABLE, "prohibit": unix.RTN_PROHIBIT} {
		for _, pair := range [][2]string{{podA4, remotePod4}, {podA6, remotePod6}} {
			to := netip.MustParseAddr(pair[1])
			route := &netlink.Route{Dst: network(full(to)), Type: kind}
			must(t, b.link.RouteReplace(route))
			steps[name+" to "+pair[1]] = step{
				run:        run{program: "from_pod", in: b.fromA(frame{src: pair[0], dst: pair[1]})},
				wantAction: drop, wantCounted: egressOf("FIB_LOOKUP_FAILED"),
			}
			b.check(t, steps)
			must(t, b.link.RouteDel(route))
			clear(steps)
		}
	}
}

// TestWithFullMaps needs root: the agent is told, and what found no place is judged as unknown.
func TestWithFullMaps(t *testing.T) {
	b := newBench(t, loader.Config{})
	fill(t, b.objects.Map("endpoint_ifs"), 4)
	fill(t, b.objects.Map("endpoints"), 16)
	fill(t, b.objects.Map("identities"), 4)
	fill(t, b.objects.Map("ipcache"), 16)
	fill(t, b.objects.Map("fragments"), 40)
	full := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, unix.E2BIG) && !errors.Is(err, unix.ENOMEM) {
			t.Errorf("%s: want the map to be full, got %v", name, err)
		}
	}
	ep, ifc := b.a.endpoint, b.a.ifc
	ep.Addrs, ep.Gateways, ifc.HostIndex = []netip.Addr{netip.MustParseAddr("10.0.1.50")}, b.routers[:1], 5000
	full("endpoint", b.maps.PutEndpoint(ep, ifc))
	full("identity", b.maps.PutIdentity(60000))
	full("route", b.maps.PutRoutes([]datapath.Route{{Prefix: netip.MustParsePrefix("10.0.2.50/32"), Identity: identityRemote}}))
	toUnknown := b.fromA(frame{src: podA4, dst: "10.0.2.50"})
	first := b.fromA(frame{src: podA4, dst: podB4, fragment: fragment{id: 3, more: true}, payload: make([]byte, 64)})
	later := b.fromA(frame{src: podA4, dst: podB4, fragment: fragment{id: 3, offset: 72}, payload: make([]byte, 64)})
	b.check(t, map[string]step{
		"an address without a place is what its range is": {
			run: run{program: "from_pod", in: toUnknown}, wantAction: redirect, wantMark: markKeyed,
			wantCounted: egressOf("forwarded"), wantOut: hop(toUnknown, b.a.ifc.MAC, b.a.ifc.HostMAC),
		},
		"a device without a place is mute": {
			run: run{program: "from_pod", in: toUnknown, device: b.index(t, "lo")}, wantAction: drop,
			wantCounted: egressOf("ENDPOINT_NOT_READY"),
		},
		"an identity without a place": {
			run:        run{in: frame{src: remotePod4, dst: podA4}, tunnel: tunnel{there4, 60000}},
			wantAction: drop, wantCounted: ingressOf("INVALID_IDENTITY"),
		},
		"a new datagram has an old one forgotten": {
			run: run{program: "from_pod", in: first}, wantAction: redirect, wantCounted: both(),
			wantOut: hop(first, b.b.ifc.HostMAC, b.b.ifc.MAC),
		},
	})
	b.check(t, map[string]step{"and its rest follows": {
		run: run{program: "from_pod", in: later}, wantAction: redirect, wantCounted: both(),
		wantOut: hop(later, b.b.ifc.HostMAC, b.b.ifc.MAC),
	}})
}

// fill puts entries that nobody asks for into a map until no more fit.
func fill(t *testing.T, m *ebpf.Map, keyBytes int) {
	t.Helper()
	value := make([]byte, m.ValueSize())
	for n := range m.MaxEntries() {
		key := make([]byte, keyBytes)
		key[0], key[1], key[2], key[3] = byte(n), byte(n>>8), byte(n>>16), 0x7f
		if m.Put(key, value) != nil {
			return
		}
	}
}

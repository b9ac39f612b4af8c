// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
)

func TestDiffRoutes(t *testing.T) {
	pods := netip.MustParsePrefix("10.0.2.0/24")
	router := netip.MustParseAddr("10.0.1.1")
	right := Route{Dst: pods, Device: 3, Src: router}
	tests := map[string]struct {
		want, have             []Route
		wantMissing, wantStale []Route
	}{
		"what is there is left alone":         {want: []Route{right}, have: []Route{right}},
		"what is not there is added":          {want: []Route{right}, wantMissing: []Route{right}},
		"what is wanted no longer is removed": {have: []Route{right}, wantStale: []Route{right}},
		"another device is another route": {
			want: []Route{right}, have: []Route{{Dst: pods, Device: 4, Src: router}},
			wantMissing: []Route{right}, wantStale: []Route{{Dst: pods, Device: 4, Src: router}},
		},
		"another source is another route": {
			want: []Route{right}, have: []Route{{Dst: pods, Device: 3}},
			wantMissing: []Route{right}, wantStale: []Route{{Dst: pods, Device: 3}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			missing, stale := diffRoutes(tt.want, tt.have)
			addresses := cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
			if diff := cmp.Diff(tt.wantMissing, missing, addresses); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.wantStale, stale, addresses); diff != "" {
				t.Errorf("stale (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPickDevices(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	card := func(index int, name string, flags net.Flags) netlink.Link {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{
			Index: index, Name: name, MTU: 1500, EncapType: "ether", Flags: flags,
		}}
	}
	all := []netlink.Link{
		card(1, "lo", net.FlagLoopback), card(2, "eth1", 0), card(3, "eth0", 0), card(4, "eth2", 0),
		card(5, "cilium_host", 0), card(6, "lxc0123456789ab", 0),
	}
	got := pickDevices(all, func(index int) ([]netip.Addr, bool) {
		switch index {
		case 1, 3, 5, 6:
			return []netip.Addr{addr}, false
		case 2:
			return nil, true
		default:
			return nil, false
		}
	})
	want := []Device{
		{Name: "eth0", Index: 3, MTU: 1500, Ethernet: true, Addrs: []netip.Addr{addr}},
		{Name: "eth1", Index: 2, MTU: 1500, Ethernet: true},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}

func TestMTU(t *testing.T) {
	devices := []Device{{MTU: 9000}, {MTU: 1500}}
	if got := MTU(devices, 50); got != 1450 {
		t.Errorf("MTU = %d, want that of the smallest card less the overhead, 1450", got)
	}
}

func TestTunnelMAC(t *testing.T) {
	one, two := TunnelMAC(netip.MustParseAddr("192.0.2.1")), TunnelMAC(netip.MustParseAddr("192.0.2.2"))
	if one.String() == two.String() {
		t.Errorf("two nodes share the MAC %s, so that VXLAN drops what one sends to the other", one)
	}
	if one[0]&0x03 != 0x02 {
		t.Errorf("%s is not a locally administered unicast address", one)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
)

func TestJoin(t *testing.T) {
	addr := []netip.Addr{netip.MustParseAddr("10.0.1.7")}
	entry := datapath.Observed{HostIndex: 7, ID: 3, Identity: 300, Addrs: addr}
	tests := map[string]struct {
		entries []datapath.Observed
		sides   []link.HostSide
		want    []datapath.Observed
	}{
		"nothing at all": {},
		"an entry and its device": {
			entries: []datapath.Observed{entry},
			sides:   []link.HostSide{{Name: "lxc0123456789ab", Owner: "uid", Index: 7}},
			want: []datapath.Observed{{
				UID: "uid", HostIfName: "lxc0123456789ab", HostIndex: 7, ID: 3, Identity: 300, Addrs: addr,
			}},
		},
		"an entry whose device is gone": {entries: []datapath.Observed{entry}, want: []datapath.Observed{entry}},
		"a device without entry": {
			sides: []link.HostSide{{Name: "lxc0123456789ab", Owner: "uid", Index: 4}},
			want:  []datapath.Observed{{UID: "uid", HostIfName: "lxc0123456789ab", HostIndex: 4}},
		},
		"by the devices' numbers": {
			entries: []datapath.Observed{entry},
			sides:   []link.HostSide{{Name: "lxc0123456789ab", Index: 4}},
			want:    []datapath.Observed{{HostIfName: "lxc0123456789ab", HostIndex: 4}, entry},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := join(tt.entries, tt.sides)
			if diff := cmp.Diff(tt.want, got, addresses(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("join (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOverhead(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	tests := map[string]struct {
		native      bool
		addrs, peer []netip.Addr
		want        int
	}{
		"all by IPv4":                {addrs: []netip.Addr{v4}, peer: []netip.Addr{v4}, want: 50},
		"IPv4 before IPv6":           {addrs: []netip.Addr{v4, v6}, peer: []netip.Addr{v4, v6}, want: 50},
		"IPv6 before IPv4":           {addrs: []netip.Addr{v6, v4}, peer: []netip.Addr{v4, v6}, want: 70},
		"one peer has but IPv6":      {addrs: []netip.Addr{v4, v6}, peer: []netip.Addr{v6}, want: 70},
		"nothing in native routing":  {native: true, addrs: []netip.Addr{v6}, peer: []netip.Addr{v6}, want: 0},
		"a peer without any address": {addrs: []netip.Addr{v4}, want: 50},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := &Datapath{cfg: datapath.Config{Native: tt.native}}
			got := d.overhead(datapath.Node{Addrs: tt.addrs, Peers: []datapath.Peer{{Addrs: tt.peer}}})
			if got != tt.want {
				t.Errorf("overhead = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestTunnelRoutes(t *testing.T) {
	const device = 5
	router := netip.MustParseAddr("10.0.1.1")
	n := datapath.Node{Routers: []netip.Addr{router}}
	tests := map[string]struct {
		peer datapath.Peer
		want []link.Route
	}{
		"a range with the node's router as source": {
			peer: datapath.Peer{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")}},
			want: []link.Route{{Dst: netip.MustParsePrefix("10.0.2.0/24"), Device: device, Src: router}},
		},
		"a family in which the node has no router": {
			peer: datapath.Peer{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("fd00:2::/64")}},
			want: []link.Route{{Dst: netip.MustParsePrefix("fd00:2::/64"), Device: device}},
		},
		"a router inside a range needs no route of its own": {
			peer: datapath.Peer{
				PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")},
				Routers:  []netip.Addr{netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("10.9.0.2")},
			},
			want: []link.Route{
				{Dst: netip.MustParsePrefix("10.0.2.0/24"), Device: device, Src: router},
				{Dst: netip.MustParsePrefix("10.9.0.2/32"), Device: device, Src: router},
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n.Peers = []datapath.Peer{tt.peer}
			if diff := cmp.Diff(tt.want, tunnelRoutes(n, device), addresses()); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

func addresses() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}) }

func TestNATPorts(t *testing.T) {
	tests := map[string]struct {
		local ports
		want  ports
		free  bool
	}{
		"the kernel's default":                {local: ports{32768, 60999}, want: ports{1024, 29999}, free: true},
		"most below are the kernel's":         {local: ports{10000, 40000}, want: ports{40001, 65535}, free: true},
		"most above are the kernel's":         {local: ports{15000, 65535}, want: ports{1024, 14999}, free: true},
		"the kernel's are among the node's":   {local: ports{30500, 31000}, want: ports{32768, 65535}, free: true},
		"all are the kernel's":                {local: ports{1024, 65535}, want: ports{61440, 65535}},
		"what is left is less than enough":    {local: ports{4000, 65000}, want: ports{61440, 65535}},
		"the kernel's begin below privileged": {local: ports{1, 2000}, want: ports{32768, 65535}, free: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, free := natPorts(tt.local)
			if got != tt.want || free != tt.free {
				t.Errorf("natPorts(%v) = %v, %v, want %v, %v", tt.local, got, free, tt.want, tt.free)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

func TestCIDRKeysAndBack(t *testing.T) {
	for name, c := range map[string]struct {
		prefix, want string
		wantLength   uint32
	}{
		"an IPv4 range":             {"10.0.1.0/24", "10.0.1.0/24", 120},
		"bits beyond the mask":      {"10.0.1.77/24", "10.0.1.0/24", 120},
		"all of IPv4":               {"0.0.0.0/0", "0.0.0.0/0", 96},
		"an IPv6 range":             {"fd00:1::/64", "fd00:1::/64", 64},
		"all of IPv6":               {"::/0", "::/0", 0},
		"half of IPv4":              {"128.0.0.0/1", "128.0.0.0/1", 97},
		"IPv6 that begins as IPv4s": {"::/80", "::/80", 80},
	} {
		t.Run(name, func(t *testing.T) {
			k := cidrKey(netip.MustParsePrefix(c.prefix))
			if k.PrefixLen != c.wantLength {
				t.Errorf("length: got %d, want %d", k.PrefixLen, c.wantLength)
			}
			if got := prefix(k).String(); got != c.want {
				t.Errorf("back: got %s, want %s", got, c.want)
			}
		})
	}
}

func TestLayOut(t *testing.T) {
	node := netip.MustParseAddr("192.0.2.1")
	table := layOut([]datapath.Route{
		{Prefix: netip.MustParsePrefix("10.0.1.2/32"), Identity: 1001},
		{Prefix: netip.MustParsePrefix("10.0.1.2/32"), Identity: 1002, Node: node},
		{Prefix: netip.MustParsePrefix("fd00::/64"), Node: node},
	})
	if len(table.addresses) != 1 || len(table.ranges) != 1 {
		t.Fatalf("got %d addresses and %d ranges, want one of each", len(table.addresses), len(table.ranges))
	}
	got := table.addresses[netip.MustParseAddr("10.0.1.2").As16()]
	if got.Identity != 1002 || got.Node.B != node.As16() {
		t.Errorf("the later route does not count: %+v", got)
	}
}

func TestFirsts(t *testing.T) {
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
	for name, tt := range map[string]struct {
		addrs  []netip.Addr
		v4, v6 netip.Addr
	}{
		"none":             {},
		"one family":       {addrs: []netip.Addr{c}, v6: c},
		"the first counts": {addrs: []netip.Addr{a, c, b}, v4: a, v6: c},
		"a mapped address": {addrs: []netip.Addr{netip.AddrFrom16(a.As16())}, v4: a},
	} {
		t.Run(name, func(t *testing.T) {
			v4, v6 := firsts(tt.addrs)
			if diff := cmp.Diff([]string{tt.v4.String(), tt.v6.String()}, []string{addr(v4).String(), addr(v6).String()}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

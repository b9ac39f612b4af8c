// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"net/netip"
	"testing"
)

func TestRouterIsTheFirstUsableAddress(t *testing.T) {
	tests := map[string]struct {
		prefix     string
		want       string
		wantUsable uint64
	}{
		"an IPv4 range loses network and broadcast":        {"10.0.1.0/24", "10.0.1.1", 254},
		"the smallest IPv4 range with a network":           {"10.0.1.4/30", "10.0.1.5", 2},
		"a point-to-point IPv4 range loses nothing":        {"10.0.1.4/31", "10.0.1.4", 2},
		"a single IPv4 address":                            {"10.0.1.4/32", "10.0.1.4", 1},
		"an IPv6 range loses the routers' anycast address": {"fd00::1:0/112", "fd00::1:1", 65535},
		"a huge IPv6 range stops at 2^62":                  {"fd00::/48", "fd00::1", 1 << 62},
		"a single IPv6 address":                            {"fd00::7/128", "fd00::7", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := netip.MustParsePrefix(tt.prefix)
			if got := Router(p); got != netip.MustParseAddr(tt.want) {
				t.Errorf("Router(%s) = %s, want %s", p, got, tt.want)
			}
			if _, count := usable(p); count != tt.wantUsable {
				t.Errorf("usable addresses of %s = %d, want %d", p, count, tt.wantUsable)
			}
		})
	}
}

func TestPlusCarries(t *testing.T) {
	tests := map[string]struct {
		base  string
		n     uint64
		shift int
		want  string
	}{
		"inside the last byte":             {"10.0.0.0", 5, 0, "10.0.0.5"},
		"over bytes":                       {"10.0.0.255", 1, 0, "10.0.1.0"},
		"in steps of /24":                  {"10.0.0.0", 3, 8, "10.0.3.0"},
		"over the middle of IPv6":          {"fd00::ffff:ffff:ffff:ffff", 1, 0, "fd00:0:0:1::"},
		"in steps of /64":                  {"fd00::", 258, 64, "fd00:0:0:102::"},
		"in steps of /56, over the middle": {"fd00::", 1, 72, "fd00:0:0:100::"},
		"in steps of /112":                 {"fd00::", 0x1_0002, 16, "fd00::1:2:0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := plus(netip.MustParseAddr(tt.base), tt.n, tt.shift); got != netip.MustParseAddr(tt.want) {
				t.Errorf("plus = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestOverlaps(t *testing.T) {
	tests := map[string]struct {
		list []netip.Prefix
		want bool
	}{
		"nothing":               {nil, false},
		"neighbours":            {prefixes("10.0.0.0/24", "10.0.1.0/24"), false},
		"one inside another":    {prefixes("10.0.0.0/24", "10.9.0.0/24", "10.0.0.128/25"), true},
		"the same twice":        {prefixes("fd00::/64", "fd00::/64"), true},
		"of different families": {prefixes("0.0.0.0/0", "::/0"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if a, b, got := Overlaps(tt.list); got != tt.want {
				t.Errorf("Overlaps = %s, %s, %v, want %v", a, b, got, tt.want)
			}
		})
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

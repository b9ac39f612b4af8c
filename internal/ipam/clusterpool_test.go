// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func newClusterPool(t *testing.T, maskSize int, cidrs ...string) *ClusterPool {
	t.Helper()
	p, err := NewClusterPool(prefixes(cidrs...), maskSize)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestClusterPoolGivesRangesInOrder(t *testing.T) {
	p := newClusterPool(t, 25, "10.0.0.0/24", "10.9.0.0/25")
	for i, want := range []string{"10.0.0.0/25", "10.0.0.128/25", "10.9.0.0/25"} {
		got, err := p.Allocate(fmt.Sprint("n", i))
		if err != nil || got.String() != want {
			t.Errorf("range %d = %s, %v, want %s", i, got, err, want)
		}
	}
	if _, err := p.Allocate("n3"); !errors.Is(err, ErrExhausted) {
		t.Errorf("err = %v, want ErrExhausted", err)
	}
	if got, err := p.Allocate("n1"); err != nil || got.String() != "10.0.0.128/25" {
		t.Errorf("the same node got %s, %v, want its range again", got, err)
	}
	p.Release("n0")
	if got, err := p.Allocate("n3"); err != nil || got.String() != "10.0.0.0/25" {
		t.Errorf("after a release: %s, %v, want the range that came back", got, err)
	}
	if err := p.Configure(prefixes("10.0.0.0/24", "10.9.0.0/25", "10.8.0.0/25"), 25); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Allocate("n4"); err != nil || got.String() != "10.8.0.0/25" {
		t.Errorf("after more CIDRs: %s, %v, want the new one", got, err)
	}
}

func TestClusterPoolRefuses(t *testing.T) {
	tests := map[string]struct {
		cidrs    []string
		maskSize int
		want     string
	}{
		"two families":           {[]string{"10.0.0.0/8", "fd00::/30"}, 31, "family"},
		"a CIDR too small":       {[]string{"10.0.0.0/25"}, 24, "mask size 24"},
		"a mask beyond the bits": {[]string{"10.0.0.0/25"}, 33, "mask size 33"},
		"overlapping CIDRs":      {[]string{"10.0.0.0/8", "10.1.0.0/16"}, 24, "overlaps"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewClusterPool(prefixes(tt.cidrs...), tt.maskSize)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestClusterPoolAdopts(t *testing.T) {
	p := newClusterPool(t, 26, "10.0.0.0/24")
	if err := p.Adopt("old", netip.MustParsePrefix("10.0.0.0/25")); err != nil {
		t.Fatal(err)
	}
	if err := p.Adopt("old", netip.MustParsePrefix("10.0.0.0/25")); err != nil {
		t.Errorf("adopting again: %v", err)
	}
	if err := p.Adopt("thief", netip.MustParsePrefix("10.0.0.64/26")); err == nil {
		t.Error("a range inside another node's was adopted")
	}
	if got, err := p.Allocate("new"); err != nil || got.String() != "10.0.0.128/26" {
		t.Errorf("got %s, %v, want the first range beside the adopted one of another size", got, err)
	}
}

func TestClusterPoolOfIPv6(t *testing.T) {
	p := newClusterPool(t, 112, "fd00:10:208::/96")
	for i, want := range []string{"fd00:10:208::/112", "fd00:10:208::1:0/112"} {
		if got, err := p.Allocate(fmt.Sprint(i)); err != nil || got.String() != want {
			t.Errorf("range %d = %s, %v, want %s", i, got, err, want)
		}
	}
}

func TestClusterPoolCapacity(t *testing.T) {
	cases := map[string]struct {
		maskSize int
		cidrs    []string
		want     uint64
	}{
		"no CIDR":                       {maskSize: 24},
		"one range":                     {maskSize: 24, cidrs: []string{"10.0.0.0/24"}, want: 1},
		"several CIDRs":                 {maskSize: 26, cidrs: []string{"10.0.0.0/24", "10.0.2.0/25"}, want: 6},
		"IPv6":                          {maskSize: 64, cidrs: []string{"fd00::/48"}, want: 1 << 16},
		"more than anybody will count":  {maskSize: 128, cidrs: []string{"fd00::/8"}, want: 1 << 62},
		"twice more than anybody would": {maskSize: 128, cidrs: []string{"fd00::/16", "fd01::/16"}, want: 1 << 62},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := newClusterPool(t, tc.maskSize, tc.cidrs...)
			if _, err := p.Allocate("node"); err == nil != (tc.want > 0) {
				t.Errorf("Allocate: %v", err)
			}
			if got := p.Capacity(); got != tc.want {
				t.Errorf("capacity is %d, want %d", got, tc.want)
			}
		})
	}
}

// TestClusterPoolNeverOverlaps does random things for long and compares with a plain model.
func TestClusterPoolNeverOverlaps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	p := newClusterPool(t, 28, "10.0.0.0/24", "10.0.4.0/26")
	for step := range 5000 {
		owner := fmt.Sprint(rnd.IntN(30))
		switch rnd.IntN(4) {
		case 0, 1:
			_, err := p.Allocate(owner)
			if err != nil && len(p.ranges) < 4 {
				t.Fatalf("step %d: exhausted with %d nodes", step, len(p.ranges))
			}
		case 2:
			p.Release(owner)
		case 3:
			bits := 26 + rnd.IntN(4)
			addr := netip.AddrFrom4([4]byte{10, 0, byte(rnd.IntN(6)), byte(rnd.IntN(256))})
			_ = p.Adopt(owner, netip.PrefixFrom(addr, bits).Masked()) // A refusal is as good as a success.
		}
		var all []netip.Prefix
		for _, ranges := range p.ranges {
			all = append(all, ranges...)
		}
		if a, b, found := Overlaps(all); found {
			t.Fatalf("step %d: %s overlaps %s", step, a, b)
		}
	}
}

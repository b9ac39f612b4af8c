// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loadbalancer

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ranges reads "first-last", a prefix, or a prefix without its edges ("~10.0.0.0/24").
func ranges(t *testing.T, texts ...string) []Range {
	t.Helper()
	var out []Range
	for _, text := range texts {
		if first, last, ok := strings.Cut(text, "-"); ok {
			r, err := Between(netip.MustParseAddr(first), netip.MustParseAddr(last))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, r)
			continue
		}
		edges := WithEdges
		if strings.HasPrefix(text, "~") {
			edges = WithoutEdges
		}
		out = append(out, Of(netip.MustParsePrefix(strings.TrimPrefix(text, "~")), edges))
	}
	return out
}

func texts(list []Range) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.First.String()+"-"+r.Last.String())
	}
	return out
}

func TestRanges(t *testing.T) {
	tests := map[string]struct {
		in        string
		want      string
		wantCount int64
	}{
		"a prefix":                     {in: "192.0.2.0/24", want: "192.0.2.0-192.0.2.255", wantCount: 256},
		"a prefix without its edges":   {in: "~192.0.2.0/29", want: "192.0.2.1-192.0.2.6", wantCount: 6},
		"two addresses have no edges":  {in: "~192.0.2.0/31", want: "192.0.2.0-192.0.2.1", wantCount: 2},
		"one address has none":         {in: "~192.0.2.7/32", want: "192.0.2.7-192.0.2.7", wantCount: 1},
		"first and last":               {in: "192.0.2.9-192.0.3.8", want: "192.0.2.9-192.0.3.8", wantCount: 256},
		"IPv6":                         {in: "~2001:db8::/126", want: "2001:db8::1-2001:db8::2", wantCount: 2},
		"across 64 bits":               {in: "2001:db8::ffff:ffff:ffff:ffff-2001:db8:0:1::1", want: "2001:db8::ffff:ffff:ffff:ffff-2001:db8:0:1::1", wantCount: 3},
		"more than anybody will count": {in: "2001:db8::/32", want: "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", wantCount: maxCount},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := ranges(t, tt.in)
			if diff := cmp.Diff([]string{tt.want}, texts(got)); diff != "" {
				t.Errorf("range (-want +got):\n%s", diff)
			}
			if n := got[0].count(); n != tt.wantCount {
				t.Errorf("count = %d, want %d", n, tt.wantCount)
			}
		})
	}
}

func TestBetweenRefuses(t *testing.T) {
	for name, ends := range map[string][2]string{
		"an end before the beginning": {"192.0.2.9", "192.0.2.8"},
		"two families":                {"192.0.2.9", "2001:db8::1"},
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := Between(netip.MustParseAddr(ends[0]), netip.MustParseAddr(ends[1])); err == nil {
				t.Errorf("got %v, want an error", r)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	tests := map[string]struct{ in, want []string }{
		"apart, in their order": {
			in: []string{"192.0.2.9-192.0.2.9", "192.0.2.0-192.0.2.3"}, want: []string{"192.0.2.9-192.0.2.9", "192.0.2.0-192.0.2.3"},
		},
		"overlapping":           {in: []string{"192.0.2.0-192.0.2.3", "192.0.2.2-192.0.2.9"}, want: []string{"192.0.2.0-192.0.2.9"}},
		"one in the other":      {in: []string{"192.0.2.2-192.0.2.3", "192.0.2.0/24"}, want: []string{"192.0.2.0-192.0.2.255"}},
		"one that joins others": {in: []string{"192.0.2.0-192.0.2.1", "192.0.2.8-192.0.2.9", "192.0.2.1-192.0.2.8"}, want: []string{"192.0.2.0-192.0.2.9"}},
		"families stay apart":   {in: []string{"192.0.2.0/24", "2001:db8::/127"}, want: []string{"192.0.2.0-192.0.2.255", "2001:db8::-2001:db8::1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, texts(Merge(ranges(t, tt.in...)))); diff != "" {
				t.Errorf("merged (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConflicts(t *testing.T) {
	pool := func(name string, in ...string) Pool { return Pool{Name: name, Ranges: ranges(t, in...)} }
	tests := map[string]struct {
		pools []Pool
		want  map[string]string
	}{
		"apart":           {pools: []Pool{pool("a", "192.0.2.0/25"), pool("b", "192.0.2.128/25")}, want: map[string]string{}},
		"the later loses": {pools: []Pool{pool("a", "192.0.2.0/24"), pool("b", "192.0.2.7-192.0.2.7")}, want: map[string]string{"b": "a"}},
		"who conflicts is in nobody's way": {
			pools: []Pool{pool("a", "192.0.2.0-192.0.2.9"), pool("b", "192.0.2.9-192.0.2.20"), pool("c", "192.0.2.20-192.0.2.30")},
			want:  map[string]string{"b": "a"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Conflicts(tt.pools)); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
		})
	}
}

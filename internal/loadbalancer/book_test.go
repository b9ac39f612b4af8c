// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/ipam"
)

// asks is a request of an owner for any IPv4 address of pool blue.
func asks(owner string, change ...func(*Request)) Request {
	r := Request{Owner: owner, Name: "ns/" + owner, Families: []ipam.Family{ipam.IPv4}, All: true, Pools: []string{"blue"}}
	for _, c := range change {
		c(&r)
	}
	return r
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func wants(texts ...string) func(*Request) { return func(r *Request) { r.Addrs = addrs(texts...) } }
func has(texts ...string) func(*Request)   { return func(r *Request) { r.Have = addrs(texts...) } }
func from(pools ...string) func(*Request)  { return func(r *Request) { r.Pools = pools } }
func dual(r *Request)                      { r.Families = []ipam.Family{ipam.IPv4, ipam.IPv6} }
func prefersDual(r *Request)               { dual(r); r.All = false }

// told is the answers as text: "verdict address address".
func told(r Result) map[string]string {
	out := map[string]string{}
	for owner, a := range r.Answers {
		word := map[Verdict]string{
			Satisfied: "satisfied", NoPool: "no pool", Exhausted: "exhausted", NotInPool: "not in pool", InUse: "in use", Invalid: "invalid",
		}[a.Verdict]
		out[owner] = strings.TrimSpace(word + " " + strings.ReplaceAll(join(a.Addrs), ",", ""))
	}
	return out
}

func TestSettle(t *testing.T) {
	blue := Pool{Name: "blue", Ranges: ranges(t, "192.0.2.1-192.0.2.2")}
	blue6 := Pool{Name: "blue", Ranges: ranges(t, "192.0.2.1-192.0.2.2", "2001:db8::/126")}
	green := Pool{Name: "green", Ranges: ranges(t, "198.51.100.0/30")}
	closed := Pool{Name: "blue", Ranges: blue.Ranges, Closed: true}
	tests := map[string]struct {
		pools []Pool
		// rounds are settled one after the other; the last one's answers count.
		rounds [][]Request
		want   map[string]string
	}{
		"each gets the lowest that is free": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a"), asks("b")}},
			want: map[string]string{"a": "satisfied 192.0.2.1", "b": "satisfied 192.0.2.2"},
		},
		"what one has it keeps, whoever comes before it": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("b")}, {asks("a"), asks("b")}},
			want: map[string]string{"a": "satisfied 192.0.2.2", "b": "satisfied 192.0.2.1"},
		},
		"what a status says is believed": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a"), asks("b", has("192.0.2.1"))}},
			want: map[string]string{"a": "satisfied 192.0.2.2", "b": "satisfied 192.0.2.1"},
		},
		"what was given counts, though no status shows it yet": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("b")}, {asks("a", has("192.0.2.1")), asks("b")}},
			want: map[string]string{"a": "satisfied 192.0.2.2", "b": "satisfied 192.0.2.1"},
		},
		"of two that claim one address the older has it": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a", has("192.0.2.2")), asks("b", has("192.0.2.2"))}},
			want: map[string]string{"a": "satisfied 192.0.2.2", "b": "satisfied 192.0.2.1"},
		},
		"who is gone leaves room": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a"), asks("b"), asks("c")}, {asks("b"), asks("c")}},
			want: map[string]string{"b": "satisfied 192.0.2.2", "c": "satisfied 192.0.2.1"},
		},
		"a full pool": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a"), asks("b"), asks("c")}},
			want: map[string]string{"a": "satisfied 192.0.2.1", "b": "satisfied 192.0.2.2", "c": "exhausted"},
		},
		"the next pool when one is full": {
			pools:  []Pool{blue, green},
			rounds: [][]Request{{asks("a"), asks("b"), asks("c", from("blue", "green"))}},
			want:   map[string]string{"a": "satisfied 192.0.2.1", "b": "satisfied 192.0.2.2", "c": "satisfied 198.51.100.0"},
		},
		"no pool for it": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a", from())}}, want: map[string]string{"a": "no pool"},
		},
		"both families": {
			pools: []Pool{blue6}, rounds: [][]Request{{asks("a", dual)}}, want: map[string]string{"a": "satisfied 192.0.2.1 2001:db8::"},
		},
		"both families, and one has no pool": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a", dual)}}, want: map[string]string{"a": "no pool 192.0.2.1"},
		},
		"both families preferred, and one is enough": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a", prefersDual)}}, want: map[string]string{"a": "satisfied 192.0.2.1"},
		},
		"a family given up": {
			pools: []Pool{blue6}, rounds: [][]Request{{asks("a", dual)}, {asks("a")}}, want: map[string]string{"a": "satisfied 192.0.2.1"},
		},
		"a wanted address": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a", wants("192.0.2.2"))}}, want: map[string]string{"a": "satisfied 192.0.2.2"},
		},
		"a wanted address after another was given": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a")}, {asks("a", wants("192.0.2.2"))}},
			want: map[string]string{"a": "satisfied 192.0.2.2"},
		},
		"two wanted addresses": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a", wants("192.0.2.2", "192.0.2.1"))}},
			want: map[string]string{"a": "satisfied 192.0.2.1 192.0.2.2"},
		},
		"a wanted address that another has": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a"), asks("b", wants("192.0.2.1"))}},
			want: map[string]string{"a": "satisfied 192.0.2.1", "b": "in use"},
		},
		"a wanted address of no pool": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a", wants("203.0.113.1"))}}, want: map[string]string{"a": "not in pool"},
		},
		"a wanted address of a pool for others": {
			pools: []Pool{blue, green}, rounds: [][]Request{{asks("a", wants("198.51.100.1"))}}, want: map[string]string{"a": "not in pool"},
		},
		"a wanted address of another family": {
			pools: []Pool{blue6}, rounds: [][]Request{{asks("a", wants("2001:db8::1"))}}, want: map[string]string{"a": "invalid"},
		},
		"a request without sense keeps what there is": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a")}, {asks("a", func(r *Request) { r.Wrong = "no address" })}},
			want: map[string]string{"a": "invalid 192.0.2.1"},
		},
		"a closed pool gives nothing": {
			pools: []Pool{closed}, rounds: [][]Request{{asks("a")}}, want: map[string]string{"a": "no pool"},
		},
		"a closed pool takes nothing back": {
			pools: []Pool{closed}, rounds: [][]Request{{asks("a", has("192.0.2.2"))}}, want: map[string]string{"a": "satisfied 192.0.2.2"},
		},
		"a closed pool does not give a wanted address": {
			pools: []Pool{closed}, rounds: [][]Request{{asks("a", wants("192.0.2.1"))}}, want: map[string]string{"a": "not in pool"},
		},
		"an address that no pool has any more is taken back": {
			pools: []Pool{blue}, rounds: [][]Request{{asks("a", has("203.0.113.1"))}}, want: map[string]string{"a": "satisfied 192.0.2.1"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := NewBook()
			var got Result
			for _, round := range tt.rounds {
				got = b.Settle(tt.pools, round)
			}
			if diff := cmp.Diff(tt.want, told(got)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			if again := told(b.Settle(tt.pools, tt.rounds[len(tt.rounds)-1])); !cmp.Equal(again, tt.want) {
				t.Errorf("once more gives other answers: %v", again)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	b := NewBook()
	pool := Pool{Name: "blue", Ranges: ranges(t, "192.0.2.1-192.0.2.2", "2001:db8::/64")}
	got := b.Settle([]Pool{pool}, []Request{asks("a", dual), asks("b")}).Usage["blue"]
	if diff := cmp.Diff(Usage{Total: maxCount, Used: 3, Full: []ipam.Family{ipam.IPv4}}, got); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

func TestNoAddressTwice(t *testing.T) {
	b := NewBook()
	pool := Pool{Name: "blue", Ranges: ranges(t, "~192.0.2.0/24")}
	var requests []Request
	for i := range 300 {
		requests = append(requests, asks(fmt.Sprint(i)))
	}
	owner := map[netip.Addr]string{}
	for _, r := range requests {
		for _, a := range b.Settle([]Pool{pool}, requests).Answers[r.Owner].Addrs {
			if had := owner[a]; had != "" && had != r.Owner {
				t.Fatalf("%s is both %s's and %s's", a, had, r.Owner)
			}
			owner[a] = r.Owner
		}
	}
	if len(owner) != 254 {
		t.Errorf("%d addresses were given, want 254", len(owner))
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipcache

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// row is a route to a full address.
func row(addr string, id dp.Identity) dp.Route {
	a := netip.MustParseAddr(addr)
	return dp.Route{Prefix: netip.PrefixFrom(a, a.BitLen()), Identity: id}
}

func prefixOf(addr string) netip.Prefix { return row(addr, 0).Prefix }

func object(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: name}
}

func comparers() []cmp.Option {
	return []cmp.Option{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	}
}

func TestTable(t *testing.T) {
	type step struct {
		owner   string
		routes  []dp.Route
		wantPut []dp.Route
		wantDel []netip.Prefix
	}
	one, two, moved := row("10.0.0.1", 1001), row("10.0.0.2", 1001), row("10.0.0.1", 1002)
	tests := map[string][]step{
		"a new row is written once": {
			{owner: "a", routes: []dp.Route{one}, wantPut: []dp.Route{one}},
			{owner: "a", routes: []dp.Route{one}},
		},
		"another identity is another row": {
			{owner: "a", routes: []dp.Route{one}, wantPut: []dp.Route{one}},
			{owner: "a", routes: []dp.Route{moved}, wantPut: []dp.Route{moved}},
		},
		"what is wanted no longer goes": {
			{owner: "a", routes: []dp.Route{one, two}, wantPut: []dp.Route{one, two}},
			{owner: "a", routes: []dp.Route{two}, wantDel: []netip.Prefix{one.Prefix}},
			{owner: "a", wantDel: []netip.Prefix{two.Prefix}},
		},
		"the last to come has the row, and the first's going leaves it": {
			{owner: "a", routes: []dp.Route{one}, wantPut: []dp.Route{one}},
			{owner: "b", routes: []dp.Route{moved}, wantPut: []dp.Route{moved}},
			{owner: "a"},
			{owner: "b", wantDel: []netip.Prefix{one.Prefix}},
		},
		"when the last goes the first has it again": {
			{owner: "a", routes: []dp.Route{one}, wantPut: []dp.Route{one}},
			{owner: "b", routes: []dp.Route{moved}, wantPut: []dp.Route{moved}},
			{owner: "b", wantPut: []dp.Route{one}},
		},
		"who repeats himself does not come before others": {
			{owner: "a", routes: []dp.Route{one}, wantPut: []dp.Route{one}},
			{owner: "b", routes: []dp.Route{moved}, wantPut: []dp.Route{moved}},
			{owner: "a", routes: []dp.Route{one}},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			tab := newTable()
			for i, s := range steps {
				put, del := tab.set(object(s.owner), s.routes)
				slices.SortFunc(put, func(a, b dp.Route) int { return a.Prefix.Compare(b.Prefix) })
				if diff := cmp.Diff(s.wantPut, put, comparers()...); diff != "" {
					t.Errorf("step %d puts (-want +got):\n%s", i, diff)
				}
				if diff := cmp.Diff(s.wantDel, del, comparers()...); diff != "" {
					t.Errorf("step %d deletes (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func TestFailedWritesAreWrittenAgain(t *testing.T) {
	tab := newTable()
	one := row("10.0.0.1", 1001)
	put, del := tab.set(object("a"), []dp.Route{one})
	tab.failed(object("a"), put, del)
	if put, _ = tab.set(object("a"), []dp.Route{one}); len(put) != 1 {
		t.Errorf("a row that was not written is not written again: %v", put)
	}
	put, del = tab.set(object("a"), nil)
	tab.failed(object("a"), put, del)
	if _, del = tab.set(object("a"), nil); !slices.Equal(del, []netip.Prefix{one.Prefix}) {
		t.Errorf("a row that was not deleted is not deleted again: %v", del)
	}
	if put, del = tab.set(object("a"), nil); len(put)+len(del) != 0 || len(tab.unwritten) != 0 {
		t.Errorf("left to write: %v, %v, %v", put, del, tab.unwritten)
	}
}

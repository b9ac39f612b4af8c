// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipcache

import (
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// table is what the kernel's table of addresses is to hold, and which object wants each row. Of two objects that want
// the same row the one that came last has it; the other's departure does not remove it.
type table struct {
	mu    sync.Mutex
	ready bool
	// wants are the rows of an object; rows is who has a prefix, and how.
	wants map[types.NamespacedName]map[netip.Prefix]bool
	rows  map[netip.Prefix]row
}

type row struct {
	owner types.NamespacedName
	route dp.Route
}

func newTable() table {
	return table{wants: map[types.NamespacedName]map[netip.Prefix]bool{}, rows: map[netip.Prefix]row{}}
}

func (t *table) synced() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ready
}

// begin empties the table and lets changes in.
func (t *table) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready = true
	clear(t.wants)
	clear(t.rows)
}

// set gives owner the rows of routes and returns what that changes.
func (t *table) set(owner types.NamespacedName, routes []dp.Route) (put []dp.Route, del []netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	want := make(map[netip.Prefix]bool, len(routes))
	for _, route := range routes {
		want[route.Prefix] = true
		if next := (row{owner, route}); t.rows[route.Prefix] != next {
			t.rows[route.Prefix] = next
			put = append(put, route)
		}
	}
	for prefix := range t.wants[owner] {
		if !want[prefix] && t.rows[prefix].owner == owner {
			delete(t.rows, prefix)
			del = append(del, prefix)
		}
	}
	if t.wants[owner] = want; len(want) == 0 {
		delete(t.wants, owner)
	}
	return put, del
}

// failed makes the next set of owner's rows write them again, and returns err.
func (t *table) failed(owner types.NamespacedName, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for prefix := range t.wants[owner] {
		if r := t.rows[prefix]; r.owner == owner {
			r.route.Identity, r.route.Node = 0, netip.Addr{}
			t.rows[prefix] = r
		}
	}
	return err
}

// all are the rows.
func (t *table) all() []dp.Route {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]dp.Route, 0, len(t.rows))
	for _, r := range t.rows {
		out = append(out, r.route)
	}
	return out
}

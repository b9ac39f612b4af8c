// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipcache

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// table is what the kernel's table of addresses is to hold, and which objects want each row. Of several that want the
// same row the one that came last has it; when it goes, the one before has it again.
type table struct {
	// claims are who wants a prefix, and how, the last one being in force.
	claims map[netip.Prefix][]claim
	// wants are the prefixes of an object.
	wants map[types.NamespacedName]map[netip.Prefix]bool
	// unwritten are prefixes of an object of which the kernel has not been told.
	unwritten map[types.NamespacedName]map[netip.Prefix]bool
}

type claim struct {
	owner types.NamespacedName
	route dp.Route
}

func newTable() table {
	return table{
		claims:    map[netip.Prefix][]claim{},
		wants:     map[types.NamespacedName]map[netip.Prefix]bool{},
		unwritten: map[types.NamespacedName]map[netip.Prefix]bool{},
	}
}

// set gives owner the rows of routes and returns what that changes, with what could not be written the last time.
func (t *table) set(owner types.NamespacedName, routes []dp.Route) (put []dp.Route, del []netip.Prefix) {
	changed := t.unwritten[owner]
	if delete(t.unwritten, owner); changed == nil {
		changed = map[netip.Prefix]bool{}
	}
	want := make(map[netip.Prefix]bool, len(routes))
	for _, route := range routes {
		want[route.Prefix] = true
		if t.place(claim{owner, route}) {
			changed[route.Prefix] = true
		}
	}
	for prefix := range t.wants[owner] {
		if !want[prefix] && t.remove(prefix, owner) {
			changed[prefix] = true
		}
	}
	if t.wants[owner] = want; len(want) == 0 {
		delete(t.wants, owner)
	}
	for prefix := range changed {
		if route, wanted := t.inForce(prefix); wanted {
			put = append(put, route)
		} else {
			del = append(del, prefix)
		}
	}
	return put, del
}

// place puts a claim on top of its row unless it is there already, and tells whether the row changed. An object that
// repeats what it wants does not come before others by that.
func (t *table) place(c claim) (changed bool) {
	row := t.claims[c.route.Prefix]
	i := slices.IndexFunc(row, func(other claim) bool { return other.owner == c.owner })
	if i >= 0 && row[i] == c {
		return false
	}
	if i >= 0 {
		row = slices.Delete(row, i, i+1)
	}
	t.claims[c.route.Prefix] = append(row, c)
	return true
}

// remove takes an object's claim from a row and tells whether another route, or none, is in force by that.
func (t *table) remove(prefix netip.Prefix, owner types.NamespacedName) (changed bool) {
	before, _ := t.inForce(prefix)
	row := slices.DeleteFunc(t.claims[prefix], func(c claim) bool { return c.owner == owner })
	if t.claims[prefix] = row; len(row) == 0 {
		delete(t.claims, prefix)
	}
	after, wanted := t.inForce(prefix)
	return !wanted || before != after
}

func (t *table) inForce(prefix netip.Prefix) (route dp.Route, wanted bool) {
	row := t.claims[prefix]
	if len(row) == 0 {
		return dp.Route{}, false
	}
	return row[len(row)-1].route, true
}

// failed makes the next set of owner's rows write these again.
func (t *table) failed(owner types.NamespacedName, put []dp.Route, del []netip.Prefix) {
	again := map[netip.Prefix]bool{}
	for _, route := range put {
		again[route.Prefix] = true
	}
	for _, prefix := range del {
		again[prefix] = true
	}
	t.unwritten[owner] = again
}

// all are the rows in force.
func (t *table) all() []dp.Route {
	out := make([]dp.Route, 0, len(t.claims))
	for _, row := range t.claims {
		out = append(out, row[len(row)-1].route)
	}
	return out
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// kernel is what tables hold after the differences that were written to it.
type kernel struct{ State }

func newKernel() *kernel {
	return &kernel{State{
		Frontends: map[Frontend]Entry{}, Backends: map[Slot]netip.AddrPort{}, Sources: map[uint32][]netip.Prefix{},
		Rings: map[uint32]uint64{},
	}}
}

func (k *kernel) write(d Diff) {
	maps.Copy(k.Backends, d.PutBackends)
	maps.Copy(k.Frontends, d.PutFrontends)
	for _, f := range d.DeleteFrontends {
		delete(k.Frontends, f)
	}
	for _, s := range d.DeleteBackends {
		delete(k.Backends, s)
	}
	for _, s := range d.PutSources {
		k.Sources[s.ID] = append(slices.Clone(k.Sources[s.ID]), s.Prefix)
	}
	for _, s := range d.DeleteSources {
		k.Sources[s.ID] = slices.DeleteFunc(slices.Clone(k.Sources[s.ID]), func(p netip.Prefix) bool { return p == s.Prefix })
	}
}

// behind are the backends to which a frontend leads, in the order of their slots; nil when it is unknown.
func (k *kernel) behind(t *testing.T, f Frontend) []string {
	t.Helper()
	entry, known := k.Frontends[f]
	if !known {
		return nil
	}
	out := []string{}
	for i := range entry.Count {
		backend, there := k.Backends[Slot{entry.ID, i}]
		if !there {
			t.Errorf("%s leads to slot %d of %d, which is empty", f.Addr, i, entry.ID)
		}
		out = append(out, backend.String())
	}
	return out
}

func large() Capacity {
	return Capacity{Frontends: 1 << 16, Backends: 1 << 18, Sources: 1 << 14, Rings: 1 << 13}
}

func tcp(addr string) Frontend { return Frontend{Addr: netip.MustParseAddrPort(addr), Protocol: TCP} }

func backends(texts ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, text := range texts {
		out = append(out, netip.MustParseAddrPort(text))
	}
	return out
}

func options() cmp.Option {
	return cmp.Options{
		cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(netip.AddrPort{}, Frontend{}, Slot{}, Entry{}, Backend{}),
	}
}

const (
	one   = "10.0.1.1:80"
	two   = "10.0.1.2:80"
	three = "10.0.1.3:80"
	vip   = "10.96.0.1:80"
	vip2  = "10.96.0.2:80"
)

func set(name string, frontend string, behind ...string) Set {
	return Set{Name: name, Frontends: []Frontend{tcp(frontend)}, Backends: backends(behind...)}
}

func TestArrange(t *testing.T) {
	tests := map[string]struct{ have, want, slots []string }{
		"the first ones take slots in order":  {want: []string{one, two}, slots: []string{one, two}},
		"a new one is added at the end":       {have: []string{two}, want: []string{one, two}, slots: []string{two, one}},
		"the last one fills the hole":         {have: []string{one, two, three}, want: []string{two, three}, slots: []string{three, two}},
		"the last one goes and nobody moves":  {have: []string{one, two, three}, want: []string{one, two}, slots: []string{one, two}},
		"a replacement takes the hole":        {have: []string{one, two}, want: []string{two, three}, slots: []string{three, two}},
		"nobody is left":                      {have: []string{one, two}},
		"one that is named twice counts once": {want: []string{one, one}, slots: []string{one}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := arrange(backends(tt.have...), backends(tt.want...))
			if diff := cmp.Diff(backends(tt.slots...), got, options()); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	base := map[string][]Set{"a": {set("a", vip, one, two, three)}}
	tests := map[string]struct {
		change map[string][]Set
		behind map[string][]string
		gone   []string
		// writes is how many entries of all kinds are put or deleted.
		writes int
	}{
		"nothing changes": {
			change: base, behind: map[string][]string{vip: {one, two, three}},
		},
		"a backend goes: one slot, the count, one deletion": {
			change: map[string][]Set{"a": {set("a", vip, two, three)}},
			behind: map[string][]string{vip: {three, two}}, gone: []string{one}, writes: 3,
		},
		"a backend is replaced: one slot": {
			change: map[string][]Set{"a": {set("a", vip, one, "10.0.1.4:80", three)}},
			behind: map[string][]string{vip: {one, "10.0.1.4:80", three}}, gone: []string{two}, writes: 1,
		},
		"no backend is left and the frontend refuses": {
			change: map[string][]Set{"a": {set("a", vip)}},
			behind: map[string][]string{vip: {}}, gone: []string{one, two, three}, writes: 4,
		},
		"the Service goes": {
			change: map[string][]Set{"a": nil},
			behind: map[string][]string{vip: nil}, gone: []string{one, two, three}, writes: 4,
		},
		"another Service comes": {
			change: map[string][]Set{"b": {set("b", vip2, one)}},
			behind: map[string][]string{vip: {one, two, three}, vip2: {one}}, writes: 2,
		},
		"the address changes and the backends stay": {
			change: map[string][]Set{"a": {set("a", vip2, one, two, three)}},
			behind: map[string][]string{vip: nil, vip2: {one, two, three}}, writes: 2,
		},
		"a backend that goes from one Service to another is not gone": {
			change: map[string][]Set{"a": {set("a", vip, one, two)}, "b": {set("b", vip2, three)}},
			behind: map[string][]string{vip: {one, two}, vip2: {three}}, writes: 4,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table, k := NewTable(State{}, large()), newKernel()
			k.write(table.Replace(base))
			d := table.Update(tt.change)
			k.write(d)
			for vip, want := range tt.behind {
				if diff := cmp.Diff(want, k.behind(t, tcp(vip))); diff != "" {
					t.Errorf("behind %s (-want +got):\n%s", vip, diff)
				}
			}
			var gone []string
			for _, b := range d.Gone {
				gone = append(gone, b.Addr.String())
			}
			if diff := cmp.Diff(tt.gone, gone, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("gone (-want +got):\n%s", diff)
			}
			if got := writes(d); got != tt.writes {
				t.Errorf("%d writes, want %d: %+v", got, tt.writes, d)
			}
		})
	}
}

func writes(d Diff) int {
	return len(d.PutBackends) + len(d.PutFrontends) + len(d.DeleteFrontends) + len(d.DeleteBackends)
}

func TestConflict(t *testing.T) {
	young, old := set("young", vip, one), set("old", vip, two)
	young.Since, old.Since = time.Unix(2, 0), time.Unix(1, 0)
	assigned := set("assigned", vip, three)
	assigned.Since = time.Unix(9, 0)
	young.Rank, old.Rank = Claimed, Claimed
	table, k := NewTable(State{}, large()), newKernel()
	for _, step := range []struct {
		change    map[string][]Set
		want      string
		contested []string
	}{
		{map[string][]Set{"young": {young}}, one, nil},
		{map[string][]Set{"old": {old}}, two, []string{"young (old has " + vip + ")"}},
		{map[string][]Set{"assigned": {assigned}}, three, []string{"old (assigned has " + vip + ")", "young (assigned has " + vip + ")"}},
		{map[string][]Set{"assigned": nil}, two, []string{"young (old has " + vip + ")"}},
		{map[string][]Set{"old": nil}, one, nil},
	} {
		k.write(table.Update(step.change))
		if diff := cmp.Diff([]string{step.want}, k.behind(t, tcp(vip))); diff != "" {
			t.Errorf("behind the address that several claim (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(step.contested, table.Contested()); diff != "" {
			t.Errorf("who lacks it (-want +got):\n%s", diff)
		}
	}
	k.write(table.Update(map[string][]Set{"young": nil}))
	if len(k.Frontends)+len(k.Backends) > 0 {
		t.Errorf("left behind: %+v", k.State)
	}
}

func TestAdoption(t *testing.T) {
	services := map[string][]Set{}
	for i := range 50 {
		name := fmt.Sprint("svc-", i)
		services[name] = []Set{set(name, fmt.Sprintf("10.96.1.%d:80", i), one, two, three)}
	}
	table, k := NewTable(State{}, large()), newKernel()
	k.write(table.Replace(services))
	k.write(table.Update(map[string][]Set{"svc-7": {set("svc-7", "10.96.1.7:80", two, three)}}))
	services["svc-7"] = []Set{set("svc-7", "10.96.1.7:80", two, three)}

	t.Run("a new start finds everything in order", func(t *testing.T) {
		if d := NewTable(k.State, large()).Replace(services); !d.Empty() {
			t.Errorf("a restart writes %+v", d)
		}
	})
	t.Run("what nobody wants goes, holes included", func(t *testing.T) {
		torn := newKernel()
		torn.write(Diff{PutBackends: k.Backends, PutFrontends: k.Frontends})
		orphan := Slot{ID: 4711, Index: 3}
		torn.Backends[orphan] = netip.MustParseAddrPort(one)
		torn.Frontends[tcp("10.96.9.9:80")] = Entry{ID: 4712, Count: 2}
		d := NewTable(torn.State, large()).Replace(services)
		want := Diff{DeleteFrontends: []Frontend{tcp("10.96.9.9:80")}, DeleteBackends: []Slot{orphan}}
		if diff := cmp.Diff(want, d, options()); diff != "" {
			t.Errorf("difference (-want +got):\n%s", diff)
		}
	})
	t.Run("numbers do not depend on the order of events", func(t *testing.T) {
		other, k2 := NewTable(State{}, large()), newKernel()
		for name, sets := range services {
			k2.write(other.Update(map[string][]Set{name: sets}))
		}
		for frontend, entry := range k.Frontends {
			if k2.Frontends[frontend].ID != entry.ID {
				t.Errorf("%s has number %d or %d", frontend.Addr, entry.ID, k2.Frontends[frontend].ID)
			}
		}
	})
}

func TestFull(t *testing.T) {
	t.Run("too many backends: the rest waits until there is room", func(t *testing.T) {
		table, k := NewTable(State{}, Capacity{Frontends: 9, Backends: 4}), newKernel()
		k.write(table.Replace(map[string][]Set{"a": {set("a", vip, one, two, three)}}))
		k.write(table.Update(map[string][]Set{"b": {set("b", vip2, one, two, three)}}))
		wantShort(t, table, "b")
		if got := k.behind(t, tcp(vip)); len(got) != 3 {
			t.Errorf("behind the first Service: %v", got)
		}
		if got := k.behind(t, tcp(vip2)); len(got) != 1 {
			t.Errorf("behind the Service for which one place is left: %v", got)
		}
		k.write(table.Update(map[string][]Set{"a": nil}))
		k.write(table.Update(nil))
		wantShort(t, table)
		if got := k.behind(t, tcp(vip2)); len(got) != 3 {
			t.Errorf("behind the Service, with room: %v", got)
		}
	})
	t.Run("too many frontends: the last one is left out and named", func(t *testing.T) {
		table, k := NewTable(State{}, Capacity{Frontends: 1, Backends: 9}), newKernel()
		k.write(table.Replace(map[string][]Set{"a": {set("a", vip, one)}}))
		k.write(table.Update(map[string][]Set{"b": {set("b", vip2, one)}}))
		wantShort(t, table, "b")
		if k.behind(t, tcp(vip2)) != nil || len(k.behind(t, tcp(vip))) != 1 {
			t.Errorf("frontends = %v", k.Frontends)
		}
	})
}

// TestFullOfSources: who finds no room stays outside, until there is some; the Service is named, and others are not held up.
func TestFullOfSources(t *testing.T) {
	guarded := func(name, vip string, texts ...string) []Set {
		s := set(name, vip, one)
		s.Guarded = true
		for _, text := range texts {
			s.Sources = append(s.Sources, netip.MustParsePrefix(text))
		}
		return []Set{s}
	}
	table, k := NewTable(State{}, Capacity{Frontends: 9, Backends: 9, Sources: 2}), newKernel()
	wantLet := func(want string) {
		t.Helper()
		if got := fmt.Sprint(k.Sources[k.Frontends[tcp(vip)].ID], k.Sources[k.Frontends[tcp(vip2)].ID]); got != want {
			t.Errorf("let in: %s, want %s", got, want)
		}
	}
	k.write(table.Replace(map[string][]Set{"a": guarded("a", vip, "192.0.2.0/24")}))
	k.write(table.Update(map[string][]Set{"b": guarded("b", vip2, "198.51.100.0/24", "203.0.113.0/24")}))
	wantShort(t, table, "b")
	wantLet("[192.0.2.0/24] [198.51.100.0/24]")
	if k.behind(t, tcp(vip2)) == nil {
		t.Error("the Service is not there at all")
	}
	k.write(table.Update(map[string][]Set{"a": nil}))
	k.write(table.Update(nil))
	wantShort(t, table)
	wantLet("[] [198.51.100.0/24 203.0.113.0/24]")
}

func wantShort(t *testing.T, table *Table, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, table.Short(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("short of room (-want +got):\n%s", diff)
	}
}

// TestSources: who is let in follows the set, and goes with it; what an agent that ended has left goes too.
func TestSources(t *testing.T) {
	guarded := func(texts ...string) Set {
		s := set("guarded", "192.0.2.7:80", "10.0.1.1:8080")
		s.Guarded = true
		for _, text := range texts {
			s.Sources = append(s.Sources, netip.MustParsePrefix(text))
		}
		return s
	}
	k := newKernel()
	k.Sources[99] = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	table := NewTable(k.State, large())
	for _, step := range []struct {
		sets []Set
		want string
	}{
		{sets: []Set{guarded("192.0.2.0/24", "198.51.100.0/24")}, want: "guarded [192.0.2.0/24 198.51.100.0/24]"},
		{sets: []Set{guarded("192.0.2.0/24")}, want: "guarded [192.0.2.0/24]"},
		{sets: []Set{guarded()}, want: "guarded []"},
		{sets: []Set{set("guarded", "192.0.2.7:80", "10.0.1.1:8080")}, want: "open []"},
		{sets: []Set{guarded("2001:db8::/32")}, want: "guarded [2001:db8::/32]"},
		{want: "open []"},
	} {
		k.write(table.Replace(map[string][]Set{"ns/a": step.sets}))
		entry := k.Frontends[tcp("192.0.2.7:80")]
		word := map[bool]string{true: "guarded", false: "open"}[entry.Guarded]
		if got := fmt.Sprint(word, " ", k.Sources[entry.ID]); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
	for id, left := range k.Sources {
		if len(left) > 0 {
			t.Errorf("%v are left under number %d", left, id)
		}
	}
}

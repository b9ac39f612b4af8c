// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package contract

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

func nodeTwice(t *testing.T, n Node) {
	first := ensureNode(t, n)
	if first.MTU <= 0 || first.MTU > n.MTU || len(first.Devices) == 0 {
		t.Errorf("state = %+v, want an MTU up to %d and devices", first, n.MTU)
	}
	if diff := cmp.Diff(first, ensureNode(t, n)); diff != "" {
		t.Errorf("the second time differs (-first +second):\n%s", diff)
	}
}

func nodeAccelerated(t *testing.T, n Node) {
	if state := ensureNode(t, n); len(state.Accelerated)+len(state.Plain) != 0 {
		t.Errorf("state = %+v, want no device accelerated, and none missed", state)
	}
	n.Want.Accelerate = true
	state := ensureNode(t, n)
	named := slices.Clone(state.Accelerated)
	for _, plain := range state.Plain {
		if named = append(named, plain.Name); plain.Reason == "" {
			t.Errorf("%s is not accelerated for no reason", plain.Name)
		}
	}
	slices.Sort(named)
	if diff := cmp.Diff(state.Devices, named); diff != "" {
		t.Errorf("accelerated and plain devices together (-want +got):\n%s", diff)
	}
}

func nodeWithoutDevice(t *testing.T, n Node) {
	n.Want.Addrs = nil
	_, err := n.Datapath.EnsureNode(t.Context(), n.Want)
	wantError(t, err, datapath.ErrNoDevice)
}

func interfaceBeforeNode(t *testing.T, n Node) {
	_, err := n.Datapath.EnsureInterface(t.Context(), endpoint(1, n.Sandbox()))
	wantError(t, err, datapath.ErrNoNode)
	err = n.Datapath.EnsureEndpoint(t.Context(), endpoint(1, n.Sandbox()), datapath.Interface{})
	wantError(t, err, datapath.ErrNoNode)
}

func interfaceTwice(t *testing.T, n Node) {
	state := ensureNode(t, n)
	ep := endpoint(1, n.Sandbox())
	first := ensureInterface(t, n, ep)
	if first.HostIndex == 0 || len(first.MAC) != 6 || len(first.HostMAC) != 6 || first.MTU != state.MTU {
		t.Errorf("interface = %+v, want an index, two MACs and MTU %d", first, state.MTU)
	}
	if diff := cmp.Diff(first, ensureInterface(t, n, ep)); diff != "" {
		t.Errorf("the second time differs (-first +second):\n%s", diff)
	}
	ensureEndpoint(t, n, ep, first)
	if diff := cmp.Diff(first, ensureInterface(t, n, ep)); diff != "" {
		t.Errorf("a running interface was not adopted (-first +third):\n%s", diff)
	}
}

func interfaceReplaced(t *testing.T, n Node) {
	ensureNode(t, n)
	ep := endpoint(1, n.Sandbox())
	first := ensureInterface(t, n, ep)
	ep.UID = "another"
	if second := ensureInterface(t, n, ep); second.HostIndex == first.HostIndex {
		t.Errorf("the device of another owner was adopted: %+v", second)
	}
	wantObserved(t, n, datapath.Observed{UID: "another", HostIfName: ep.HostIfName})
}

func sandboxGone(t *testing.T, n Node) {
	ensureNode(t, n)
	path := n.Sandbox()
	n.CloseSandbox(path)
	_, err := n.Datapath.EnsureInterface(t.Context(), endpoint(1, path))
	wantError(t, err, datapath.ErrSandboxGone)
}

func invalidNetns(t *testing.T, n Node) {
	ensureNode(t, n)
	for _, path := range []string{n.OwnNetns, n.NoNetns} {
		_, err := n.Datapath.EnsureInterface(t.Context(), endpoint(1, path))
		wantError(t, err, datapath.ErrInvalidNetns)
	}
	wantObserved(t, n)
}

func endpointsShown(t *testing.T, n Node) {
	ensureNode(t, n)
	one, two := endpoint(1, n.Sandbox()), endpoint(2, n.Sandbox())
	add(t, n, one)
	ensureInterface(t, n, two)
	wantObserved(t, n, shown(one), datapath.Observed{UID: two.UID, HostIfName: two.HostIfName})
	add(t, n, two)
	wantObserved(t, n, shown(one), shown(two))
}

func identityChanges(t *testing.T, n Node) {
	ensureNode(t, n)
	ep := endpoint(1, n.Sandbox())
	ifc := add(t, n, ep)
	ep.Identity = 4711
	ensureEndpoint(t, n, ep, ifc)
	wantObserved(t, n, shown(ep))
}

func endpointsSettled(t *testing.T, n Node) {
	settle := func() { t.Helper(); must(t, n.Datapath.SettleEndpoint(t.Context())) }
	settle()
	ensureNode(t, n)
	one, two := endpoint(1, n.Sandbox()), endpoint(2, n.Sandbox())
	first := add(t, n, one)
	add(t, n, two)
	for range 3 {
		settle()
		wantObserved(t, n, shown(one), shown(two))
	}
	if diff := cmp.Diff(first, add(t, n, one)); diff != "" {
		t.Errorf("the interface was replaced (-first +settled):\n%s", diff)
	}
	remove(t, n, one)
	deleteInterface(t, n, two) // nobody has told the datapath that its endpoint is gone
	settle()
	deleteInterface(t, n, one)
	settle()
	remove(t, n, two)
	wantObserved(t, n)
}

func endpointRemoved(t *testing.T, n Node) {
	ensureNode(t, n)
	ep := endpoint(1, n.Sandbox())
	add(t, n, ep)
	for range 2 {
		remove(t, n, ep)
		wantObserved(t, n, datapath.Observed{UID: ep.UID, HostIfName: ep.HostIfName})
	}
	deleteInterface(t, n, ep)
	wantObserved(t, n)
}

func removedByDevice(t *testing.T, n Node) {
	ensureNode(t, n)
	ep := endpoint(1, n.Sandbox())
	add(t, n, ep)
	remove(t, n, datapath.Endpoint{HostIfName: ep.HostIfName})
	wantObserved(t, n, datapath.Observed{UID: ep.UID, HostIfName: ep.HostIfName})
}

func removedByAddress(t *testing.T, n Node) {
	ensureNode(t, n)
	ep := endpoint(1, n.Sandbox())
	add(t, n, ep)
	deleteInterface(t, n, ep)
	left := shown(ep)
	left.UID, left.HostIfName = "", ""
	wantObserved(t, n, left)
	remove(t, n, datapath.Endpoint{Addrs: ep.Addrs})
	wantObserved(t, n)
}

func addressReused(t *testing.T, n Node) {
	ensureNode(t, n)
	before, after := endpoint(1, n.Sandbox()), endpoint(2, n.Sandbox())
	after.Addrs = before.Addrs
	add(t, n, before)
	remove(t, n, before)
	add(t, n, after)
	remove(t, n, before)
	wantObserved(t, n, shown(after), datapath.Observed{UID: before.UID, HostIfName: before.HostIfName})
}

func removeNothing(t *testing.T, n Node) {
	ensureNode(t, n)
	ep := endpoint(1, "/nowhere")
	remove(t, n, ep)
	deleteInterface(t, n, ep)
	if err := n.Datapath.DeleteRoutes([]netip.Prefix{netip.MustParsePrefix("10.0.9.9/32")}); err != nil {
		t.Error(err)
	}
}

func deleteForeign(t *testing.T, n Node) {
	wantError(t, n.Datapath.DeleteInterface(t.Context(), "eth0"), datapath.ErrForeignDevice)
}

func routes(t *testing.T, n Node) {
	d := n.Datapath
	node := netip.MustParseAddr("192.0.2.2")
	pod := datapath.Route{Prefix: netip.MustParsePrefix("10.0.2.7/32"), Identity: 300, Node: node}
	local := datapath.Route{Prefix: netip.MustParsePrefix("fd00:1::7/128"), Identity: 301}
	cidr := datapath.Route{Prefix: netip.MustParsePrefix("10.0.2.0/24"), Node: node}
	base := listRoutes(t, n) // what a datapath knows unasked, such as the two worlds

	must(t, d.SyncRoutes([]datapath.Route{pod, cidr}))
	wantRoutes(t, n, base, pod, cidr)
	pod.Identity = 302
	must(t, d.PutRoutes([]datapath.Route{pod, local}))
	wantRoutes(t, n, base, pod, cidr, local)
	must(t, d.DeleteRoutes([]netip.Prefix{cidr.Prefix}))
	wantRoutes(t, n, base, pod, local)
	must(t, d.SyncRoutes([]datapath.Route{cidr}))
	wantRoutes(t, n, base, cidr)
}

func identities(t *testing.T, n Node) {
	must(t, n.Datapath.SyncIdentities([]datapath.Identity{300, 301}))
	for range 2 {
		must(t, n.Datapath.PutIdentity(302))
	}
	for range 2 {
		must(t, n.Datapath.DeleteIdentity(300))
	}
	if usage := entries(t, n, "identities"); usage != 2 {
		t.Errorf("%d identities, want 2", usage)
	}
}

func mapUsage(t *testing.T, n Node) {
	ensureNode(t, n)
	add(t, n, endpoint(1, n.Sandbox()))
	if got := entries(t, n, "endpoints"); got != 2 {
		t.Errorf("%d addresses in endpoints, want 2", got)
	}
}

func noForeignServices(t *testing.T, n Node) {
	ensureNode(t, n)
	if found, who, err := n.Datapath.ForeignServices(); found || err != nil {
		t.Errorf("ForeignServices = %v, %q, %v, want nobody", found, who, err)
	}
}

func changesEnd(t *testing.T, n Node) {
	ctx, cancel := context.WithCancel(t.Context())
	changes, err := n.Datapath.Changes(ctx)
	must(t, err)
	ensureNode(t, n) // the first time is a change
	cancel()
	for deadline := time.After(10 * time.Second); ; {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("the channel is open 10 s after the context's end")
		}
	}
}

func undo(t *testing.T, n Node) {
	ensureNode(t, n)
	add(t, n, endpoint(1, n.Sandbox()))
	must(t, n.Datapath.Undo(t.Context()))
}

func entries(t *testing.T, n Node, name string) int {
	t.Helper()
	usage, err := n.Datapath.MapUsage()
	must(t, err)
	i := slices.IndexFunc(usage, func(u datapath.MapUsage) bool { return u.Name == name })
	if i < 0 {
		t.Fatalf("no map %s in %v", name, usage)
	}
	if usage[i].MaxEntries < usage[i].Entries {
		t.Errorf("map %s holds %d of at most %d", name, usage[i].Entries, usage[i].MaxEntries)
	}
	return usage[i].Entries
}

func listRoutes(t *testing.T, n Node) []datapath.Route {
	t.Helper()
	have, err := n.Datapath.Routes()
	must(t, err)
	return have
}

func wantRoutes(t *testing.T, n Node, base []datapath.Route, want ...datapath.Route) {
	t.Helper()
	sorted := cmpopts.SortSlices(func(a, b datapath.Route) bool { return a.Prefix.String() < b.Prefix.String() })
	all := append(slices.Clone(base), want...)
	if diff := cmp.Diff(all, listRoutes(t, n), sorted, addresses(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

// addresses compares netip values, whose fields are hidden.
func addresses() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}) }

func wantObserved(t *testing.T, n Node, want ...datapath.Observed) {
	t.Helper()
	got, err := n.Datapath.Endpoints(t.Context())
	must(t, err)
	sorted := cmpopts.SortSlices(func(a, b datapath.Observed) bool { return a.HostIfName < b.HostIfName })
	noIndex := cmpopts.IgnoreFields(datapath.Observed{}, "HostIndex")
	if diff := cmp.Diff(want, got, sorted, noIndex, addresses(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

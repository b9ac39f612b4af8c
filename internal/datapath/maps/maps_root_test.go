// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it makes BPF maps, none of them pinned.
package maps

import (
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// made makes all maps anew.
func made(t testing.TB) (*Maps, map[string]*ebpf.Map) {
	t.Helper()
	spec, err := bpfgen.LoadPod()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*ebpf.Map{}
	for name := range (&Maps{}).fields() {
		m, err := ebpf.NewMap(spec.Maps[name])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		byName[name] = m
	}
	m, err := New(byName)
	if err != nil {
		t.Fatal(err)
	}
	return m, byName
}

// sameAddr lets cmp look at addresses.
func sameAddr() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func to(prefix string, identity datapath.Identity, node string) datapath.Route {
	r := datapath.Route{Prefix: netip.MustParsePrefix(prefix), Identity: identity}
	if node != "" {
		r.Node = netip.MustParseAddr(node)
	}
	return r
}

func TestNewNamesTheMissingMap(t *testing.T) {
	_, byName := made(t)
	delete(byName, "identities")
	if _, err := New(byName); err == nil || err.Error() != "map identities is missing" {
		t.Errorf("got %v", err)
	}
}

func TestRoutes(t *testing.T) {
	world4, world6 := to("0.0.0.0/0", 9, ""), to("::/0", 10, "")
	pod4, pod6 := to("10.0.2.2/32", 1001, "192.0.2.1"), to("fd00:2::2/128", 1001, "2001:db8::1")
	range4 := to("10.0.2.0/24", 0, "192.0.2.1")
	for name, c := range map[string]struct {
		deed func(*Maps) error
		want []datapath.Route
	}{
		"nothing wanted, both worlds stay": {
			deed: func(m *Maps) error { return m.SyncRoutes(nil) }, want: []datapath.Route{world4, world6},
		},
		"only what is wanted stays": {
			deed: func(m *Maps) error {
				if err := m.SyncRoutes([]datapath.Route{pod4, to("10.9.0.0/16", 0, "192.0.2.9"), to("10.9.0.1/32", 7, "")}); err != nil {
					return err
				}
				return m.SyncRoutes([]datapath.Route{pod4, pod6, range4})
			},
			want: []datapath.Route{world4, range4, pod4, world6, pod6},
		},
		"another node for an address": {
			deed: func(m *Maps) error {
				if err := m.SyncRoutes([]datapath.Route{pod4}); err != nil {
					return err
				}
				return m.SyncRoutes([]datapath.Route{to("10.0.2.2/32", 1001, "192.0.2.7")})
			},
			want: []datapath.Route{world4, to("10.0.2.2/32", 1001, "192.0.2.7"), world6},
		},
		"a world of one's own": {
			deed: func(m *Maps) error { return m.SyncRoutes([]datapath.Route{to("0.0.0.0/0", 2, "")}) },
			want: []datapath.Route{to("0.0.0.0/0", 2, ""), world6},
		},
		"deleting twice": {
			deed: func(m *Maps) error {
				if err := m.PutRoutes([]datapath.Route{pod4, pod6, range4}); err != nil {
					return err
				}
				gone := []netip.Prefix{pod4.Prefix, range4.Prefix}
				if err := m.DeleteRoutes(gone); err != nil {
					return err
				}
				return m.DeleteRoutes(gone)
			},
			want: []datapath.Route{world4, world6, pod6},
		},
		"a world cannot be deleted": {
			deed: func(m *Maps) error { return m.DeleteRoutes([]netip.Prefix{world4.Prefix, world6.Prefix}) },
			want: []datapath.Route{world4, world6},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := made(t)
			if err := m.PutWorlds(); err != nil {
				t.Fatal(err)
			}
			if err := c.deed(m); err != nil {
				t.Fatal(err)
			}
			got, err := m.Routes()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, sameAddr()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSyncRoutesInBatches crosses the size of a batch both ways.
func TestSyncRoutesInBatches(t *testing.T) {
	m, _ := made(t)
	var want []datapath.Route
	a := netip.MustParseAddr("10.0.0.0")
	for range 3*batchSize + 5 {
		a = a.Next()
		want = append(want, datapath.Route{Prefix: netip.PrefixFrom(a, 32), Identity: 1001})
	}
	for _, n := range []int{len(want), batchSize, 0, len(want)} {
		if err := m.SyncRoutes(want[:n]); err != nil {
			t.Fatal(err)
		}
		usage, err := m.Usage()
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range usage {
			if u.Name == "ipcache" && u.Entries != n {
				t.Errorf("got %d entries, want %d", u.Entries, n)
			}
		}
	}
}

// plain is an endpoint with its device.
func plain(id uint16, index int, addrs ...string) (datapath.Endpoint, datapath.Interface) {
	ep := datapath.Endpoint{ID: id, Identity: 1001, Addrs: addresses(addrs...)}
	for range addrs {
		ep.Gateways = append(ep.Gateways, netip.MustParseAddr("fd00::1"))
	}
	return ep, datapath.Interface{HostIndex: index, MAC: make(net.HardwareAddr, 6), HostMAC: make(net.HardwareAddr, 6)}
}

func TestEndpoints(t *testing.T) {
	put := func(id uint16, index int, addrs ...string) func(*Maps) error {
		return func(m *Maps) error { return m.PutEndpoint(plain(id, index, addrs...)) }
	}
	remove := func(index int, addrs ...string) func(*Maps) error {
		return func(m *Maps) error { return m.DeleteEndpoint(index, addresses(addrs...)) }
	}
	seen := func(id uint16, index int, addrs ...string) datapath.Observed {
		return datapath.Observed{ID: id, HostIndex: index, Identity: 1001, Addrs: addresses(addrs...)}
	}
	for name, c := range map[string]struct {
		deeds []func(*Maps) error
		want  []datapath.Observed
	}{
		"one":   {deeds: []func(*Maps) error{put(1, 9, "10.0.0.2", "fd00::2")}, want: []datapath.Observed{seen(1, 9, "10.0.0.2", "fd00::2")}},
		"twice": {deeds: []func(*Maps) error{put(1, 9, "10.0.0.2"), put(1, 9, "10.0.0.2")}, want: []datapath.Observed{seen(1, 9, "10.0.0.2")}},
		"an address it no longer has": {
			deeds: []func(*Maps) error{put(1, 9, "10.0.0.2", "fd00::2"), put(1, 9, "10.0.0.3", "fd00::2")},
			want:  []datapath.Observed{seen(1, 9, "10.0.0.3", "fd00::2")},
		},
		"gone, twice": {
			deeds: []func(*Maps) error{put(1, 9, "10.0.0.2"), remove(9, "10.0.0.2"), remove(9, "10.0.0.2")}, want: []datapath.Observed{},
		},
		"gone, though nobody named its address": {
			deeds: []func(*Maps) error{put(1, 9, "10.0.0.2", "fd00::2"), remove(9)}, want: []datapath.Observed{},
		},
		"an address that has moved stays": {
			deeds: []func(*Maps) error{put(1, 9, "10.0.0.2"), put(2, 11, "10.0.0.2"), remove(9, "10.0.0.2")},
			want:  []datapath.Observed{seen(2, 11, "10.0.0.2")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := made(t)
			for _, deed := range c.deeds {
				if err := deed(m); err != nil {
					t.Fatal(err)
				}
			}
			got, err := m.Endpoints()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, sameAddr()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestIdentities(t *testing.T) {
	m, byName := made(t)
	for _, ids := range [][]datapath.Identity{{256, 300, 65535}, {300}} {
		if err := m.SyncIdentities(ids); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.PutIdentity(400); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.DeleteIdentity(300); err != nil {
			t.Fatal(err)
		}
	}
	got, err := dump[uint32, uint32](byName["identities"])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[uint32]uint32{400: known}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCountsAreSummedOverCPUs(t *testing.T) {
	m, byName := made(t)
	cpus := ebpf.MustPossibleCPU()
	perCPU := make([]bpfgen.Metric, cpus)
	for i := range perCPU {
		perCPU[i] = bpfgen.Metric{Packets: 2, Bytes: 10}
	}
	for _, row := range []uint32{0, 1<<reasonBits | 132} {
		if err := byName["metrics"].Put(row, perCPU); err != nil {
			t.Fatal(err)
		}
	}
	got, err := m.Counts()
	if err != nil {
		t.Fatal(err)
	}
	packets, bytes := uint64(2*cpus), uint64(10*cpus)
	want := []datapath.Count{
		{Reason: "forwarded", Direction: "ingress", Packets: packets, Bytes: bytes},
		{Reason: "INVALID_SOURCE_IP", Direction: "egress", Packets: packets, Bytes: bytes},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUsage(t *testing.T) {
	m, _ := made(t)
	if err := m.PutEndpoint(plain(1, 9, "10.0.0.2", "fd00::2")); err != nil {
		t.Fatal(err)
	}
	if err := m.SyncRoutes(nil); err != nil {
		t.Fatal(err)
	}
	if err := m.SetNode(NodeConfig{MTU: 1400}); err != nil {
		t.Fatal(err)
	}
	got, err := m.Usage()
	if err != nil {
		t.Fatal(err)
	}
	want := []datapath.MapUsage{
		{Name: "endpoints", Entries: 2, MaxEntries: 16384}, {Name: "endpoint_ifs", Entries: 1, MaxEntries: 8192},
		{Name: "ipcache", MaxEntries: 262144}, {Name: "ipcache_cidrs", Entries: 2, MaxEntries: 16384},
		{Name: "identities", MaxEntries: 65536}, {Name: "fragments", MaxEntries: 4096},
		{Name: "conntrack_tcp", MaxEntries: 131072}, {Name: "conntrack_other", MaxEntries: 65536}, {Name: "cards", MaxEntries: 1024},
		{Name: "source_ranges", MaxEntries: 16384},
		{Name: "frontends", MaxEntries: 65536}, {Name: "backends", MaxEntries: 262144}, {Name: "maglev", MaxEntries: 8192},
		{Name: "reverse", MaxEntries: 65536}, {Name: "affinities", MaxEntries: 16384},
		{Name: "announcements", MaxEntries: 16384},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

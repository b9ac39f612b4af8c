//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/service"
)

// balancer is a node with a Service at an address that all nodes have.
type balancer struct {
	gate
	table *service.Table
	at    netip.AddrPort
}

// crowd is a family's clients, and pods of another node as backends.
type crowd struct{ at, pod, client, backend string }

func crowds() map[string]crowd {
	return map[string]crowd{
		"IPv4": {"203.0.113.80:30080", podA4, "198.51.100.%d", "10.0.2.%d"},
		"IPv6": {"[2001:db8:80::1]:30080", podA6, "2001:db8::%d", "fd00:2::%d"},
	}
}

// backends are those with these numbers.
func (c crowd) backends(from, to int) []netip.AddrPort {
	var out []netip.AddrPort
	for i := from; i < to; i++ {
		out = append(out, netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(c.backend, 10+i)), backendPort))
	}
	return out
}

func newBalancer(t *testing.T, c crowd) balancer {
	t.Helper()
	b := balancer{gate: newGate(t, loader.Config{}), at: netip.MustParseAddrPort(c.at)}
	b.table = service.NewTable(service.State{}, b.maps.ServiceCapacity())
	var routes []datapath.Route
	for _, backend := range c.backends(0, 12) {
		at := netip.PrefixFrom(backend.Addr(), backend.Addr().BitLen())
		routes = append(routes, datapath.Route{Prefix: at, Identity: identityRemote, Node: netip.MustParseAddr(there4)})
	}
	must(t, b.maps.PutRoutes(routes))
	return b
}

// offer puts backends behind the address.
func (b balancer) offer(t *testing.T, maglev bool, affinity time.Duration, backends []netip.AddrPort) {
	t.Helper()
	var sets []service.Set
	for _, protocol := range []service.Protocol{service.TCP, service.UDP} {
		set := service.Set{Name: fmt.Sprint(protocol), Maglev: maglev, Affinity: affinity, Backends: backends}
		for _, scope := range []service.Scope{service.OfNode, service.OfWorld} {
			set.Frontends = append(set.Frontends, service.Frontend{Addr: b.at, Protocol: protocol, Scope: scope})
		}
		sets = append(sets, set)
	}
	must(t, b.maps.WriteServices(b.table.Update(map[string][]service.Set{"ns/web": sets})))
}

// led is where a client's packet is led.
func (b balancer) led(t *testing.T, program, client string, protocol byte, sport uint16) netip.Addr {
	t.Helper()
	f := frame{src: client, dst: b.at.Addr().String(), protocol: protocol, sport: sport, dport: b.at.Port(), summed: true}
	device := b.card
	if program == "from_pod" {
		f, device = b.fromA(f), 0
	}
	got := b.run(t, run{program: program, in: f, device: device})
	if got.action != redirect {
		t.Fatalf("%s, client %s port %d: action %d, counted %v", program, client, sport, int32(got.action), got.counted)
	}
	const v4, v6 = 14 + 16, 14 + 24 // where the destination stands
	if b.at.Addr().Is4() {
		return netip.AddrFrom4([4]byte(got.out[v4:]))
	}
	return netip.AddrFrom16([16]byte(got.out[v6:]))
}

// everybody is where a number of clients from outside is led, each under a port of its own.
func (b balancer) everybody(t *testing.T, c crowd, protocol byte, firstPort uint16) map[string]netip.Addr {
	t.Helper()
	out := map[string]netip.Addr{}
	for client := range 5 {
		for port := range uint16(20) {
			addr := fmt.Sprintf(c.client, 20+client)
			out[fmt.Sprint(addr, " ", port)] = b.led(t, "from_netdev", addr, protocol, firstPort+port)
		}
	}
	return out
}

// TestMaglev needs root. Two nodes that came to their backends by different ways lead the same clients to the same ones;
// one that knows none of the conversations does so too, after a backend is gone.
func TestMaglev(t *testing.T) {
	for family, c := range crowds() {
		t.Run(family, func(t *testing.T) {
			one, other, fresh := newBalancer(t, c), newBalancer(t, c), newBalancer(t, c)
			all := c.backends(0, 10)
			one.offer(t, true, 0, all)
			for _, backends := range [][]netip.AddrPort{c.backends(5, 12), c.backends(3, 6), all} {
				other.offer(t, true, 0, backends)
			}
			fresh.offer(t, true, 0, all[1:])
			for name, protocol := range map[string]byte{"TCP": protoTCP, "UDP": protoUDP} {
				before := one.everybody(t, c, protocol, 41000)
				if diff := gocmp.Diff(before, other.everybody(t, c, protocol, 41000), addrs()); diff != "" {
					t.Errorf("%s: two nodes (-one +other):\n%s", name, diff)
				}
				wantSpread(t, before, all)
				wantFewMoved(t, before, fresh.everybody(t, c, protocol, 41000), all[0].Addr())
			}
			for port := uint16(42000); port < 42020; port++ {
				a, b := one.led(t, "from_pod", c.pod, protoTCP, port), other.led(t, "from_pod", c.pod, protoTCP, port)
				if a != b {
					t.Errorf("a pod's port %d is led past its socket to %s and %s", port, a, b)
				}
			}
			one.offer(t, false, 0, all)
			other.offer(t, false, 0, all)
			if gocmp.Equal(one.everybody(t, c, protoTCP, 43000), other.everybody(t, c, protoTCP, 43000), addrs()) {
				t.Error("at random, two nodes choose the same for 100 clients")
			}
			one.testAffinity(t, c, other)
		})
	}
}

// wantSpread: each backend has its share of 100 clients, as far as chance gives it.
func wantSpread(t *testing.T, led map[string]netip.Addr, backends []netip.AddrPort) {
	t.Helper()
	counts := map[netip.Addr]int{}
	for _, backend := range led {
		counts[backend]++
	}
	for _, backend := range backends {
		if n := counts[backend.Addr()]; n < 2 || n > 25 {
			t.Errorf("%d of 100 clients are led to %s, which is one of 10 backends", n, backend)
		}
	}
}

// wantFewMoved: clients of other backends than the one that is gone stay where they are.
func wantFewMoved(t *testing.T, before, after map[string]netip.Addr, gone netip.Addr) {
	t.Helper()
	moved := 0
	for client, backend := range after {
		if before[client] != gone && before[client] != backend {
			moved++
		}
	}
	if moved > 5 {
		t.Errorf("one of 10 backends is gone, and %d of 100 clients of the others are led elsewhere", moved)
	}
}

// testAffinity: who is new to a node is led by its address alone, whatever its port, and keeps what it has.
func (b balancer) testAffinity(t *testing.T, c crowd, other balancer) {
	t.Helper()
	all := c.backends(0, 10)
	chosen := map[netip.Addr]bool{}
	b.offer(t, true, time.Hour, all)
	other.offer(t, true, time.Hour, all)
	for client := range 20 {
		addr := fmt.Sprintf(c.client, 20+client)
		here, there := b.led(t, "from_netdev", addr, protoTCP, 44000), other.led(t, "from_netdev", addr, protoTCP, 44001)
		if chosen[here] = true; here != there {
			t.Errorf("%s is led to %s, and by another node to %s", addr, here, there)
		}
	}
	if len(chosen) < 5 {
		t.Errorf("20 clients are led to %d of 10 backends", len(chosen))
	}
	for step, backends := range [][]netip.AddrPort{all[:1], all} {
		b.offer(t, true, time.Hour, backends)
		for client := range 8 {
			addr := fmt.Sprintf(c.client, 20+client)
			if got := b.led(t, "from_netdev", addr, protoTCP, uint16(45000+step)); got != all[0].Addr() {
				t.Errorf("%s had the first backend, and is led to %s", addr, got)
			}
		}
	}
}

func addrs() gocmp.Option { return cmpopts.EquateComparable(netip.Addr{}) }

//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
	"github.com/ciliate-io/ciliate/internal/service"
)

// Flags of TCP.
const (
	fin = 1
	syn = 2
	rst = 4
	ack = 16
)

// remoteSides are a client and a pod of the other node.
type remoteSides struct {
	sides
	router, remote, vip string
	// optionBytes is the room that the name of a Service takes.
	optionBytes int
}

func bothRemoteSides() map[string]remoteSides {
	both := bothSides()
	return map[string]remoteSides{
		"IPv4": {both["IPv4"], router4, remotePod4, "203.0.113.7", 8}, "IPv6": {both["IPv6"], router6, remotePod6, "2001:db8:7::7", 24},
	}
}

func protocols() map[string]byte { return map[string]byte{"TCP": protoTCP, "UDP": protoUDP} }

// newDSRGate has routes to the other node's pods.
func newDSRGate(t *testing.T) gate {
	t.Helper()
	g := newGate(t, loader.Config{Native: true, DirectReturn: true})
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "card0"
	must(t, g.link.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wire0"}))
	for _, name := range []string{"card0", "wire0"} {
		l, err := g.link.LinkByName(name)
		must(t, err)
		must(t, g.link.LinkSetUp(l))
	}
	for _, to := range []string{remotePod4, remotePod6} {
		must(t, g.link.RouteAdd(&netlink.Route{
			LinkIndex: g.index(t, "card0"), Dst: network(full(netip.MustParseAddr(to))), Scope: netlink.SCOPE_LINK,
		}))
	}
	return g
}

// led demands that a packet from outside goes on to another node so.
func (g gate) led(t *testing.T, what string, f, want frame) {
	t.Helper()
	got := g.in(t, f)
	if want.ttl == 0 {
		want.ttl = 63
	}
	if got.action != redirect || got.mark != markKeyed || len(got.counted) != 0 {
		t.Errorf("%s: action %d, mark %#x, counted %v", what, int32(got.action), got.mark, got.counted)
	}
	if diff := gocmp.Diff(want.bytes(), got.out); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// stopped demands that a packet from outside is dropped.
func (g gate) stopped(t *testing.T, what string, f frame, reason string) {
	t.Helper()
	if got := g.in(t, f); got.action != drop || fmt.Sprint(got.counted) != fmt.Sprint(ingressOf(reason)) {
		t.Errorf("%s: action %d, counted %v, want %s", what, int32(got.action), got.counted, reason)
	}
}

// from gives a frame another source.
func (f frame) from(src string, port uint16) frame {
	f.src, f.sport = src, port
	return f
}

// to gives a frame another destination.
func (f frame) to(dst string, port uint16) frame {
	f.dst, f.dport = dst, port
	return f
}

// named gives a frame the option.
func (f frame) named(addr string, port uint16) frame {
	f.service = netip.AddrPortFrom(netip.MustParseAddr(addr), port).String()
	return f
}

func (f frame) flagged(flags byte) frame {
	f.flags = flags
	return f
}

// TestDSRLeads needs root: the client keeps its address, and the backend's node learns the Service by an option,
// from every SYN and from every packet of UDP.
func TestDSRLeads(t *testing.T) {
	for family, s := range bothRemoteSides() {
		g := newDSRGate(t)
		g.publish(t, s.node, service.OfWorld, service.Entry{}, s.remote)
		for name, protocol := range protocols() {
			t.Run(family+" "+name, func(t *testing.T) {
				asked := frame{
					src: s.world, dst: s.node, protocol: protocol, sport: 40000, dport: nodePort, flags: syn, summed: true,
					payload: []byte("question"),
				}
				led := asked.to(s.remote, backendPort)
				g.led(t, "the first packet", asked, led.named(s.node, nodePort))
				g.led(t, "the first packet again", asked, led.named(s.node, nodePort))
				later := led.flagged(ack)
				if protocol == protoUDP {
					later = later.named(s.node, nodePort)
				}
				g.led(t, "a later packet", asked.flagged(ack), later)

				answer := frame{src: s.remote, dst: s.world, protocol: protocol, sport: backendPort, dport: 40000, payload: []byte("answer..")}
				said := answer.from(s.node, nodePort)
				router := map[string]string{"IPv4": "203.0.113.1", "IPv6": "2001:db8:1::1"}[family]
				g.led(t, "a router's error about an answer", about(router, s.node, said), about(router, s.remote, answer))
			})
		}
	}
}

// TestDSRIsForTheWorld needs root: other clients are led on under the node's address, and so is one that asks for
// two Services from one port.
func TestDSRIsForTheWorld(t *testing.T) {
	for family, s := range bothRemoteSides() {
		g := newDSRGate(t)
		g.publish(t, s.node, service.OfWorld, service.Entry{}, s.remote)
		g.publishPort(t, netip.AddrPortFrom(netip.MustParseAddr(s.node), nodePort+1), service.OfWorld, service.Entry{}, s.remote)
		for name, protocol := range protocols() {
			t.Run(family+" "+name, func(t *testing.T) {
				asked := frame{src: s.world, dst: s.node, protocol: protocol, sport: 40000, dport: nodePort, flags: syn, summed: true}
				byNode := func(what string, f frame) {
					t.Helper()
					got := g.in(t, f)
					want := f.from(s.router, portOf(got.out)).to(s.remote, backendPort)
					want.ttl = 63
					if diff := gocmp.Diff(want.bytes(), got.out); got.action != redirect || diff != "" {
						t.Errorf("%s: action %d (-want +got):\n%s", what, int32(got.action), diff)
					}
				}
				byNode("a node", asked.from(s.there, 40000))
				other := map[string]string{"IPv4": thirdPod4, "IPv6": remoteNew6}[family]
				byNode("a pod of another node", asked.from(other, 40000))
				g.led(t, "a client", asked, asked.to(s.remote, backendPort).named(s.node, nodePort))
				byNode("the same client, another Service", asked.to(s.node, nodePort+1))
				byNode("the same client again", asked.to(s.node, nodePort+1))
			})
		}
	}
}

// TestDSRMindsTheMTU needs root: what does not fit with the option is answered, or cut by the stack where it may be.
func TestDSRMindsTheMTU(t *testing.T) {
	for family, s := range bothRemoteSides() {
		t.Run(family, func(t *testing.T) {
			g := newDSRGate(t)
			g.publish(t, s.node, service.OfWorld, service.Entry{}, s.remote)
			headers := map[string]int{"IPv4": 28, "IPv6": 48}[family]
			room := pathMTU - s.optionBytes
			asked := frame{src: s.world, dst: s.node, sport: 40000, dport: nodePort, dontFragment: true, payload: make([]byte, room-headers)}
			g.led(t, "what just fits", asked, asked.to(s.remote, backendPort).named(s.node, nodePort))
			asked.payload = make([]byte, room-headers+1)
			got := g.in(t, asked)
			if got.action != redirect || fmt.Sprint(got.counted) != fmt.Sprint(ingressOf("TOO_BIG")) {
				t.Errorf("a byte too much: action %d, counted %v", int32(got.action), got.counted)
			}
			at := ethHeader + map[string]int{"IPv4": ipv4Header, "IPv6": ipv6Header}[family]
			if mtu := binary.BigEndian.Uint32(got.out[at+4:]); mtu != uint32(room) {
				t.Errorf("the client is told of %d bytes, want %d", mtu, room)
			}
		})
	}
	t.Run("what may be cut", func(t *testing.T) {
		g := newDSRGate(t)
		g.publish(t, here4, service.OfWorld, service.Entry{}, remotePod4)
		asked := frame{src: world4, dst: here4, sport: 40000, dport: nodePort, payload: make([]byte, pathMTU-28)}
		g.comes(t, "a packet", asked, asked.to(remotePod4, backendPort).named(here4, nodePort))
		first := asked
		first.fragment = fragment{id: 7, more: true}
		g.comes(t, "a first fragment", first, first.to(remotePod4, backendPort).named(here4, nodePort))
		later := first
		later.fragment = fragment{id: 7, offset: pathMTU - 28}
		g.led(t, "a later fragment, which fits", later, later.to(remotePod4, backendPort))
	})
}

// TestDSRIsBelieved needs root: at the backend's node the pod's answers are the Service's, and the option is gone.
func TestDSRIsBelieved(t *testing.T) {
	for family, s := range bothRemoteSides() {
		g := newBackendGate(t, s)
		for name, protocol := range protocols() {
			for service, client := range map[string]uint16{s.there: 40000, s.vip: 40001} {
				t.Run(fmt.Sprint(family, " ", name, " by ", service), func(t *testing.T) {
					asked := frame{
						src: s.world, dst: s.podA, protocol: protocol, sport: client, dport: backendPort, flags: syn, summed: true,
						payload: []byte("question"),
					}
					g.comes(t, "the first packet", asked.named(service, nodePort), asked)
					g.comes(t, "the first packet again", asked.named(service, nodePort), asked)
					g.comes(t, "a later packet", asked.flagged(ack), asked.flagged(ack))
					answer := frame{
						src: s.podA, dst: s.world, protocol: protocol, sport: backendPort, dport: client, flags: syn | ack, summed: true,
						payload: []byte("answer.."),
					}
					g.leaves(t, "the answer", answer, answer.from(service, nodePort))
					asked.summed = false
					g.leaves(t, "the pod's error", about(s.podA, s.world, asked), about(service, s.world, asked.to(service, nodePort)))
					g.comes(t, "a router's error", about(s.world, s.podA, answer), about(s.world, s.podA, answer))
				})
			}
		}
		for _, table := range []string{"conntrack_tcp", "conntrack_other"} {
			if n := len(g.connections(t, table)); n != 4 {
				t.Errorf("%s: %d entries in %s, want two for each client", family, n, table)
			}
		}
	}
}

// TestDSRPastTheStack needs root: by a card of ours the pod has the packet at once, without the option.
func TestDSRPastTheStack(t *testing.T) {
	for family, s := range bothRemoteSides() {
		t.Run(family, func(t *testing.T) {
			g := newBackendGate(t, s)
			g.setCard(t, maps.Card{Masquerades: true, Direct: true}, here4, here6)
			asked := frame{src: s.world, dst: s.podA, protocol: protoTCP, sport: 40000, dport: backendPort, flags: syn}
			g.check(t, from("from_netdev", map[string]step{"a SYN": {
				run: run{in: asked.named(s.vip, nodePort), device: g.card}, wantAction: redirect, wantCounted: ingressOf("forwarded"),
				wantOut: hop(asked, g.a.ifc.HostMAC, g.a.ifc.MAC),
			}}))
		})
	}
}

// newBackendGate knows a balancer's address and a node port, of backends that are here.
func newBackendGate(t *testing.T, s remoteSides) gate {
	t.Helper()
	g := newDSRGate(t)
	g.publish(t, s.node, service.OfWorld, service.Entry{}, s.podA)
	g.publish(t, s.vip, service.OfWorld, service.Entry{}, s.podA)
	return g
}

// TestDSRIsNotBelieved needs root.
func TestDSRIsNotBelieved(t *testing.T) {
	for family, s := range bothRemoteSides() {
		t.Run(family, func(t *testing.T) {
			g := newBackendGate(t, s)
			asked := frame{src: s.world, dst: s.podA, sport: 40000, dport: backendPort}
			for what, f := range map[string]frame{
				"another port":           asked.named(s.vip, nodePort+1),
				"another node's port":    asked.named(s.there, nodePort+1),
				"no Service's address":   asked.named(s.world, nodePort),
				"a pod's address":        asked.named(s.podB, nodePort),
				"another node says it":   asked.from(s.there, 40000).named(s.vip, nodePort),
				"the option is too long": longOption(asked.named(s.vip, nodePort)),
			} {
				g.stopped(t, what, f, "SERVICE_OPTION")
			}
			if n := len(g.connections(t, "conntrack_other")); n != 0 {
				t.Errorf("%d entries are left", n)
			}
			fromPod := g.fromA(frame{src: s.podA, dst: s.world, sport: 1, dport: 2}).named(s.vip, nodePort)
			g.refused(t, "a pod says it", g.run(t, run{program: "from_pod", in: fromPod}), "SERVICE_OPTION")
		})
	}
}

// longOption claims more bytes than the option has.
func longOption(f frame) frame {
	raw := f.bytes()
	f.ethertype, f.raw = binary.BigEndian.Uint16(raw[12:]), raw[ethHeader:]
	if f.ethertype == ethIPv4 {
		f.raw[ipv4Header+1]++
	} else {
		f.raw[ipv6Header+3]++
	}
	return f
}

// TestDSRFindsThePlaceTaken needs root: the answers of a TCP connection that goes on are not led elsewhere; those of
// others are.
func TestDSRFindsThePlaceTaken(t *testing.T) {
	for family, s := range bothRemoteSides() {
		t.Run(family, func(t *testing.T) {
			g := newBackendGate(t, s)
			asked := frame{src: s.world, dst: s.podA, protocol: protoTCP, sport: 40000, dport: backendPort, flags: syn, summed: true}
			answer := frame{
				src: s.podA, dst: s.world, protocol: protoTCP, sport: backendPort, dport: 40000, flags: syn | ack, summed: true,
			}
			g.comes(t, "a packet of nobody's", asked.flagged(ack), asked.flagged(ack))
			g.leaves(t, "its answer", answer.flagged(ack), answer.flagged(ack))
			g.comes(t, "a Service", asked.named(s.vip, nodePort), asked)
			g.leaves(t, "its answer", answer, answer.from(s.vip, nodePort))
			g.comes(t, "a later packet", asked.flagged(ack), asked.flagged(ack))
			g.stopped(t, "another Service", asked.named(s.there, nodePort), "NAT_NO_MAPPING")
			g.leaves(t, "the answer of the first", answer, answer.from(s.vip, nodePort))

			asked.protocol, answer.protocol = protoUDP, protoUDP
			g.comes(t, "UDP", asked.named(s.vip, nodePort), asked)
			g.comes(t, "UDP, another Service", asked.named(s.there, nodePort), asked)
			g.leaves(t, "its answer", answer, answer.from(s.there, nodePort))
		})
	}
}

// TestDSROfFragments needs root: the first one says it all, and what was cut on the way says it twice.
func TestDSROfFragments(t *testing.T) {
	for family, s := range bothRemoteSides() {
		t.Run(family, func(t *testing.T) {
			g := newBackendGate(t, s)
			piece := frame{src: s.world, dst: s.podA, sport: 40000, dport: backendPort, payload: make([]byte, 64)}
			first, later := piece, piece
			first.fragment, later.fragment = fragment{id: 7, more: true}, fragment{id: 7, offset: 72}
			g.comes(t, "the first", first.named(s.vip, nodePort), first)
			g.comes(t, "the next", later, later)
			g.comes(t, "one that was cut off", later.named(s.vip, nodePort), later)
			answer := frame{src: s.podA, dst: s.world, sport: backendPort, dport: 40000}
			g.leaves(t, "the answer", answer, answer.from(s.vip, nodePort))
		})
	}
}

// TestLifetimesOfHalves needs root: the node that leads sees the client alone.
func TestLifetimesOfHalves(t *testing.T) {
	g := newDSRGate(t)
	g.publish(t, here4, service.OfWorld, service.Entry{}, remotePod4)
	for name, c := range map[string]struct {
		flags []byte
		want  uint64
	}{
		"opening":      {flags: []byte{syn, syn}, want: 60},
		"established":  {flags: []byte{syn, ack}, want: 8000},
		"half closed":  {flags: []byte{syn, ack, fin | ack}, want: 120},
		"reset":        {flags: []byte{syn, ack, rst}, want: 10},
		"opened again": {flags: []byte{syn, ack, fin | ack, syn}, want: 60},
	} {
		t.Run(name, func(t *testing.T) {
			for _, flags := range c.flags {
				g.in(t, frame{src: world4, dst: here4, protocol: protoTCP, sport: 40000, dport: nodePort, flags: flags})
			}
			for k, got := range g.connections(t, "conntrack_tcp") {
				if left := (got.Expires - now(t)) / 1e9; left < c.want-5 || left > c.want {
					t.Errorf("%v: %d s, want %d", k, left, c.want)
				}
				must(t, g.objects.Map("conntrack_tcp").Delete(k))
			}
		})
	}
}

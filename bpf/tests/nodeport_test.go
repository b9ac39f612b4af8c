//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"fmt"
	"net/netip"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/service"
)

const nodePort, backendPort = 30080, 8080

// publish leads to these backends, or to none, in both protocols.
func (g gate) publish(t testing.TB, at string, scope service.Scope, e service.Entry, backends ...string) {
	t.Helper()
	g.publishPort(t, netip.AddrPortFrom(netip.MustParseAddr(at), nodePort), scope, e, backends...)
}

func (g gate) publishPort(t testing.TB, at netip.AddrPort, scope service.Scope, e service.Entry, backends ...string) {
	t.Helper()
	e.ID, e.Count = 7, uint32(len(backends))
	diff := service.Diff{PutBackends: map[service.Slot]netip.AddrPort{}, PutFrontends: map[service.Frontend]service.Entry{}}
	for i, addr := range backends {
		diff.PutBackends[service.Slot{ID: 7, Index: uint32(i)}] = netip.AddrPortFrom(netip.MustParseAddr(addr), backendPort)
	}
	for _, protocol := range []service.Protocol{service.TCP, service.UDP} {
		frontend := service.Frontend{Addr: at, Protocol: protocol, Scope: scope}
		diff.PutFrontends[frontend] = e
	}
	must(t, g.maps.WriteServices(diff))
}

// TestNodePortOfAPodHere needs root: the pod sees the client, and the client the node port.
func TestNodePortOfAPodHere(t *testing.T) {
	for family, s := range bothSides() {
		for name, protocol := range map[string]byte{"TCP": protoTCP, "UDP": protoUDP} {
			t.Run(family+" "+name, func(t *testing.T) {
				g := newGate(t, loader.Config{})
				asked := frame{src: s.world, dst: s.node, protocol: protocol, sport: 40000, dport: nodePort, summed: true, payload: []byte("question")}
				g.comes(t, "before there is a Service", asked, asked)
				g.publish(t, s.node, service.OfNode, service.Entry{}, s.podA)
				g.comes(t, "a Service for the node alone", asked, asked)
				g.publish(t, s.node, service.OfWorld, service.Entry{Local: true}, s.podA)
				led := asked
				led.dst, led.dport = s.podA, backendPort
				g.comes(t, "the question", asked, led)
				g.comes(t, "the next packet", asked, led)

				answer := frame{src: s.podA, dst: s.world, protocol: protocol, sport: backendPort, dport: 40000, summed: true, payload: []byte("answer..")}
				said := answer
				said.src, said.sport = s.node, nodePort
				g.leaves(t, "the answer", answer, said)
				// The quoted packet keeps its own sum, at which nobody looks.
				said.summed, answer.summed = false, false
				g.comes(t, "an error about it", about(s.world, s.node, said), about(s.world, s.podA, answer))

				g.publish(t, s.node, service.OfWorld, service.Entry{}, s.podB)
				g.comes(t, "a connection that goes on", asked, led)

				gone := service.Backend{Addr: netip.AddrPortFrom(netip.MustParseAddr(s.podA), backendPort), Protocol: service.UDP}
				must(t, g.maps.ForgetBackends([]service.Backend{gone}))
				if protocol == protoUDP {
					led.dst = s.podB
				}
				g.comes(t, "a connection to a backend that is gone", asked, led)
			})
		}
	}
}

// TestNodePortOfARemotePod needs root: into the tunnel under the router's address, and out of it again.
func TestNodePortOfARemotePod(t *testing.T) {
	for family, c := range map[string]struct{ node, router, world, elsewhere, pod string }{
		"IPv4": {here4, router4, world4, "203.0.113.1", remotePod4}, "IPv6": {here6, router6, world6, "2001:db8:1::1", remotePod6},
	} {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			g.publish(t, c.node, service.OfWorld, service.Entry{}, c.pod)
			asked := frame{src: c.world, dst: c.node, sport: 40000, dport: nodePort, summed: true, payload: []byte("question")}
			got := g.in(t, asked)
			led := asked
			led.src, led.sport, led.dst, led.dport, led.ttl = c.router, portOf(got.out), c.pod, backendPort, 63
			if got.action != redirect || got.mark != markKeyed || led.sport < natFirst || led.sport > natLast {
				t.Errorf("action %d, mark %#x, port %d", int32(got.action), got.mark, led.sport)
			}
			if diff := gocmp.Diff(led.bytes(), got.out); diff != "" {
				t.Errorf("the question (-want +got):\n%s", diff)
			}
			counted := fmt.Sprint(got.counted)
			if counted != "[]" {
				t.Errorf("counted %s, where no pod here has part", counted)
			}

			// To the other node only what has an address of this one comes from here, whoever said it.
			answer := frame{src: c.pod, dst: c.router, sport: backendPort, dport: led.sport, payload: []byte("answer..")}
			said := frame{src: c.node, dst: c.world, sport: nodePort, dport: 40000, payload: answer.payload}
			told := about(c.router, c.pod, answer)
			told.ttl = 63
			g.tunnels(t, "a router's error", about(c.elsewhere, c.node, said), told)
			g.tunnels(t, "the client's error", about(c.world, c.node, said), told)

			large := asked
			large.payload, large.dontFragment = make([]byte, pathMTU), true
			if got := g.in(t, large); fmt.Sprint(got.counted) != fmt.Sprint(ingressOf("TOO_BIG")) || got.action != redirect {
				t.Errorf("a packet too large: action %d, counted %v", int32(got.action), got.counted)
			}
			large.ttl = 1
			if got := g.in(t, large); got.action != drop || fmt.Sprint(got.counted) != fmt.Sprint(ingressOf("TTL_EXCEEDED")) {
				t.Errorf("a packet without hops: action %d, counted %v", int32(got.action), got.counted)
			}
		})
	}
}

// tunnels demands that a packet from outside goes into the tunnel so.
func (g gate) tunnels(t *testing.T, what string, f, want frame) {
	t.Helper()
	got := g.in(t, f)
	if diff := gocmp.Diff(want.bytes(), got.out); diff != "" || got.action != redirect || got.mark != markKeyed {
		t.Errorf("%s: action %d, mark %#x (-want +got):\n%s", what, int32(got.action), got.mark, diff)
	}
}

// TestNodePortsRefuse needs root: TCP by a reset, UDP by ICMP, and what is not to be known not at all.
func TestNodePortsRefuse(t *testing.T) {
	const syn, rst, ack = 2, 4, 16
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			g.publish(t, s.node, service.OfWorld, service.Entry{})
			asked := frame{
				smac: mac{2, 1}, src: s.world, dst: s.node, protocol: protoTCP, sport: 40000, dport: nodePort,
				flags: syn, summed: true,
			}
			got := g.in(t, asked)
			want := frame{
				smac: asked.dmac, dmac: asked.smac, src: s.node, dst: s.world, protocol: protoTCP, sport: nodePort, dport: 40000,
				flags: rst | ack, ack: 1, summed: true,
			}
			if got.action != redirect || fmt.Sprint(got.counted) != fmt.Sprint(ingressOf("REFUSED")) {
				t.Errorf("a SYN: action %d, counted %v", int32(got.action), got.counted)
			}
			if diff := gocmp.Diff(want.bytes(), got.out); diff != "" {
				t.Errorf("the reset (-want +got):\n%s", diff)
			}
			asked.flags = rst
			if got := g.in(t, asked); got.action != drop {
				t.Errorf("a reset is answered: %x", got.out)
			}
			asked.protocol = protoUDP
			got = g.in(t, asked)
			at := ethHeader + ipv4Header
			unreachable := []byte{3, 3}
			if family == "IPv6" {
				at, unreachable = ethHeader+ipv6Header, []byte{1, 4}
			}
			if got.action != redirect || gocmp.Diff(unreachable, got.out[at:at+2]) != "" {
				t.Errorf("UDP: action %d, ICMP %v", int32(got.action), got.out[at:at+2])
			}
			g.publish(t, s.node, service.OfWorld, service.Entry{Local: true})
			if got := g.in(t, asked); got.action != drop || fmt.Sprint(got.counted) != fmt.Sprint(ingressOf("NO_BACKEND")) {
				t.Errorf("no local backend: action %d, counted %v", int32(got.action), got.counted)
			}
			g.publish(t, s.node, service.OfWorld, service.Entry{Guarded: true}, s.podA)
			if got := g.in(t, asked); got.action != drop || fmt.Sprint(got.counted) != fmt.Sprint(ingressOf("SOURCE_RANGE")) {
				t.Errorf("not for this client: action %d, counted %v", int32(got.action), got.counted)
			}
		})
	}
}

// TestPodAsksAServiceByPackets needs root: the neighbour sees the node, and the pod the Service; a pod may be its own
// backend.
func TestPodAsksAServiceByPackets(t *testing.T) {
	for family, c := range map[string]struct{ vip, router string }{
		"IPv4": {"10.96.0.7", router4}, "IPv6": {"fd00:96::7", router6},
	} {
		for name, hairpin := range map[string]bool{"a neighbour": false, "itself": true} {
			t.Run(family+" "+name, func(t *testing.T) {
				s := bothSides()[family]
				g := newGate(t, loader.Config{})
				backend, ifc := s.podB, g.b.ifc
				if hairpin {
					backend, ifc = s.podA, g.a.ifc
				}
				g.publish(t, c.vip, service.OfNode, service.Entry{}, backend)
				asked := g.fromA(frame{src: s.podA, dst: c.vip, protocol: protoTCP, sport: 40000, dport: nodePort, summed: true})
				got := g.run(t, run{program: "from_pod", in: asked})
				led := asked
				led.src, led.sport, led.dst, led.dport = c.router, portOf(got.out), backend, backendPort
				led = *hop(led, ifc.HostMAC, ifc.MAC)
				if got.action != redirect || gocmp.Diff(led.bytes(), got.out) != "" {
					t.Fatalf("action %d (-want +got):\n%s", int32(got.action), gocmp.Diff(led.bytes(), got.out))
				}
				answer := frame{
					smac: mac(ifc.MAC), dmac: mac(ifc.HostMAC), src: backend, dst: c.router, protocol: protoTCP,
					sport: backendPort, dport: led.sport, summed: true,
				}
				got = g.run(t, run{program: "from_pod", in: answer, device: ifc.HostIndex})
				said := answer
				said.src, said.sport, said.dst, said.dport = c.vip, nodePort, s.podA, 40000
				said = *hop(said, g.a.ifc.HostMAC, g.a.ifc.MAC)
				if got.action != redirect || gocmp.Diff(said.bytes(), got.out) != "" {
					t.Errorf("the answer: action %d (-want +got):\n%s", int32(got.action), gocmp.Diff(said.bytes(), got.out))
				}
			})
		}
	}
}

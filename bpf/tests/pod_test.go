//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// hop is the frame as it is after one hop between these MACs.
func hop(f frame, from, to []byte) *frame {
	f.smac, f.dmac = mac(from), mac(to)
	if f.ttl == 0 {
		f.ttl = 64
	}
	f.ttl--
	return &f
}

// TestFromPodForwards needs root. Destinations, MACs, hops and marks in tunnel mode.
func TestFromPodForwards(t *testing.T) {
	b := newBench(t, loader.Config{})
	toB4 := b.fromA(frame{src: podA4, dst: podB4, sport: 1, dport: 2, payload: []byte("hello")})
	toB6 := b.fromA(frame{src: podA6, dst: podB6, sport: 1, dport: 2, payload: []byte("hello")})
	toRemote4 := b.fromA(frame{src: podA4, dst: remotePod4, protocol: protoTCP})
	toRemote6 := b.fromA(frame{src: podA6, dst: remotePod6, protocol: protoTCP})
	toNew := b.fromA(frame{src: podA4, dst: remoteNew4})
	bMAC, bHost, aMAC, aHost := b.b.ifc.MAC, b.b.ifc.HostMAC, b.a.ifc.MAC, b.a.ifc.HostMAC
	steps := map[string]step{
		"IPv4 to a pod here": {
			run: run{in: toB4}, wantAction: redirect, wantCounted: both(), wantOut: hop(toB4, bHost, bMAC),
		},
		"IPv6 to a pod here": {
			run: run{in: toB6}, wantAction: redirect, wantCounted: both(), wantOut: hop(toB6, bHost, bMAC),
		},
		"a stray mark does not reach the other pod": {
			run: run{in: toB4, mark: 0xabcd1234}, wantAction: redirect, wantCounted: both(), wantOut: hop(toB4, bHost, bMAC),
		},
		"IPv4 to a pod elsewhere": {
			run: run{in: toRemote4}, wantAction: redirect, wantMark: markKeyed, wantCounted: egressOf("forwarded"),
			wantOut: hop(toRemote4, aMAC, aHost),
		},
		"IPv6 to a pod elsewhere": {
			run: run{in: toRemote6}, wantAction: redirect, wantMark: markKeyed, wantCounted: egressOf("forwarded"),
			wantOut: hop(toRemote6, aMAC, aHost),
		},
		"to a pod so new that only its range is known": {
			run: run{in: toNew}, wantAction: redirect, wantMark: markKeyed, wantCounted: egressOf("forwarded"),
			wantOut: hop(toNew, aMAC, aHost),
		},
	}
	for name, dst := range map[string][2]string{
		"the world": {world4, world6}, "the gateway": {router4, router6}, "this node": {here4, here6},
		"another node": {there4, there6}, "another node's router": {remoteRouter4, remoteRouter6},
	} {
		steps["IPv4 to "+name+" crosses the stack with a mark"] = step{
			run:        run{in: b.fromA(frame{src: podA4, dst: dst[0]})},
			wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
		}
		steps["IPv6 to "+name+" crosses the stack with a mark"] = step{
			run:        run{in: b.fromA(frame{src: podA6, dst: dst[1]})},
			wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
		}
	}
	for name, dst := range map[string]string{"here": podB4, "elsewhere": remotePod4} {
		steps["the last hop to a pod "+name+" is the stack's to refuse"] = step{
			run:        run{in: b.fromA(frame{src: podA4, dst: dst, ttl: 1})},
			wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
		}
		steps["no hop left to a pod "+name+" is the stack's to refuse"] = step{
			run:        run{in: b.fromA(frame{src: podA4, dst: dst, noTTL: true})},
			wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
		}
	}
	b.check(t, from("from_pod", steps))
}

// TestTheChecksumOfAHopWraps needs root: the IPv4 header's sum is changed in place, with its carry.
func TestTheChecksumOfAHopWraps(t *testing.T) {
	b := newBench(t, loader.Config{})
	for _, sum := range []uint16{0xfdff, 0xfefe, 0xfeff, 0xff00, 0x00ff, 0x0100} {
		in := b.fromA(frame{src: podA4, dst: podB4})
		for id := range uint32(1 << 16) {
			if in.fragment.id = id; binary.BigEndian.Uint16(in.bytes()[ethHeader+10:]) == sum {
				break
			}
		}
		b.check(t, map[string]step{fmt.Sprintf("from %#04x", sum): {
			run: run{program: "from_pod", in: in}, wantAction: redirect, wantCounted: both(),
			wantOut: hop(in, b.b.ifc.HostMAC, b.b.ifc.MAC),
		}})
	}
}

// TestAPodOfOneFamily needs root: the other family is none of its business, and neither is its absence an address.
func TestAPodOfOneFamily(t *testing.T) {
	for name, c := range map[string]struct{ family, unspecified, dst, neighbour string }{
		"IPv4 only": {podA4, "::", podB6, podA6}, "IPv6 only": {podA6, "0.0.0.0", podB4, podA4},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, loader.Config{})
			ep := b.a.endpoint
			only := netip.MustParseAddr(c.family)
			keep := slices.Index(ep.Addrs, only)
			ep.Addrs, ep.Gateways = ep.Addrs[keep:keep+1], ep.Gateways[keep:keep+1]
			must(t, b.maps.PutEndpoint(ep, b.a.ifc))
			lie := func(src string) step {
				return step{
					run:        run{program: "from_pod", in: b.fromA(frame{src: src, dst: c.dst})},
					wantAction: drop, wantCounted: egressOf("INVALID_SOURCE_IP"),
				}
			}
			steps := map[string]step{"the unspecified address": lie(c.unspecified), "an address it no longer has": lie(c.neighbour)}
			if only.Is6() {
				steps["ARP"] = step{
					run: run{program: "from_pod", in: b.fromA(frame{
						dmac: broadcast(), ethertype: ethARP, raw: arp(1, mac(b.a.ifc.MAC), podA4, mac{}, router4),
					})},
					wantAction: drop, wantCounted: egressOf("INVALID_SOURCE_IP"),
				}
			} else {
				steps["a solicitation"] = step{
					run: run{program: "from_pod", in: b.fromA(frame{
						src: "fe80::2", dst: router6, ttl: 255, protocol: protoICMPv6, payload: neighborMessage(135, 0, router6, 0, mac{}),
					})},
					wantAction: drop, wantCounted: egressOf("NEIGHBOR"),
				}
			}
			b.check(t, steps)
		})
	}
}

// TestFromPodOnOtherRoads needs root: native routing, and the host's stack for everything.
func TestFromPodOnOtherRoads(t *testing.T) {
	stack := func(b *bench, dst string) step {
		src := podA4
		if dst == podB6 || dst == remotePod6 || dst == world6 {
			src = podA6
		}
		return step{
			run:        run{in: b.fromA(frame{src: src, dst: dst})},
			wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
		}
	}
	t.Run("all through the stack", func(t *testing.T) {
		b := newBench(t, loader.Config{StackForwarding: true})
		b.check(t, from("from_pod", map[string]step{
			"IPv4 to a pod here": stack(b, podB4), "IPv6 to a pod here": stack(b, podB6),
			"IPv4 to a pod elsewhere": stack(b, remotePod4), "IPv6 to a pod elsewhere": stack(b, remotePod6),
			"IPv4 to the world": stack(b, world4), "IPv6 to the world": stack(b, world6),
		}))
	})
	t.Run("native with no route", func(t *testing.T) {
		b := newBench(t, loader.Config{Native: true})
		toB := b.fromA(frame{src: podA4, dst: podB4})
		b.check(t, from("from_pod", map[string]step{
			"to a pod here": {
				run: run{in: toB}, wantAction: redirect, wantCounted: both(), wantOut: hop(toB, b.b.ifc.HostMAC, b.b.ifc.MAC),
			},
			"the stack refuses IPv4 to a pod elsewhere": stack(b, remotePod4),
			"the stack refuses IPv6 to a pod elsewhere": stack(b, remotePod6),
			"UDP to port 8472 is like any other": {
				run:        run{in: b.fromA(frame{src: podA4, dst: world4, dport: tunnelPort})},
				wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
			},
			"a pod that only its range knows, IPv4": {
				run:        run{in: b.fromA(frame{src: podA4, dst: remoteNew4})},
				wantAction: drop, wantCounted: egressOf("UNKNOWN_POD"),
			},
			"a pod that only its range knows, IPv6": {
				run:        run{in: b.fromA(frame{src: podA6, dst: remoteNew6})},
				wantAction: drop, wantCounted: egressOf("UNKNOWN_POD"),
			},
		}))
	})
}

// TestNativeRoutesAreTaken needs root: past the stack, with a hop less and no mark, whether or not the neighbour is known.
func TestNativeRoutesAreTaken(t *testing.T) {
	b := newBench(t, loader.Config{Native: true})
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "card0"
	must(t, b.link.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wire0"}))
	steps := map[string]step{}
	for _, name := range []string{"card0", "wire0"} {
		l, err := b.link.LinkByName(name)
		must(t, err)
		must(t, b.link.LinkSetUp(l))
	}
	for _, pair := range [][2]string{{podA4, remotePod4}, {podA6, remotePod6}} {
		must(t, b.link.RouteAdd(&netlink.Route{
			LinkIndex: b.index(t, "card0"), Dst: network(full(netip.MustParseAddr(pair[1]))), Scope: netlink.SCOPE_LINK,
		}))
		in := b.fromA(frame{src: pair[0], dst: pair[1]})
		steps["to "+pair[1]] = step{
			run: run{in: in, mark: 5}, wantAction: redirect, wantMark: markKeyed, wantCounted: egressOf("forwarded"),
			wantOut: hop(in, b.a.ifc.MAC, b.a.ifc.HostMAC),
		}
	}
	b.check(t, from("from_pod", steps))
}

// from sets the program of a table.
func from(program string, steps map[string]step) map[string]step {
	for name, s := range steps {
		s.program = program
		steps[name] = s
	}
	return steps
}

// TestFromPodDrops needs root: everything a pod may not send.
func TestFromPodDrops(t *testing.T) {
	b := newBench(t, loader.Config{})
	stranger := mac{2, 9, 9, 9, 9, 9}
	steps := map[string]step{}
	for name, c := range map[string]struct {
		reason string
		in     frame
	}{
		"another's MAC":                         {"INVALID_SOURCE_MAC", frame{smac: stranger, src: podA4, dst: podB4}},
		"another's MAC in IPv6":                 {"INVALID_SOURCE_MAC", frame{smac: stranger, src: podA6, dst: podB6}},
		"a frame not for the gateway":           {"INVALID_DESTINATION_MAC", frame{dmac: stranger, src: podA4, dst: podB4}},
		"a neighbour's address":                 {"INVALID_SOURCE_IP", frame{src: podB4, dst: world4}},
		"a neighbour's IPv6 address":            {"INVALID_SOURCE_IP", frame{src: podB6, dst: world6}},
		"the host's address":                    {"INVALID_SOURCE_IP", frame{src: here4, dst: podB4}},
		"the unspecified address":               {"INVALID_SOURCE_IP", frame{src: "0.0.0.0", dst: world4}},
		"the unspecified IPv6 address":          {"INVALID_SOURCE_IP", frame{src: "::", dst: world6}},
		"a link-local address for more than ND": {"INVALID_SOURCE_IP", frame{src: "fe80::1", dst: podB6}},
		"a neighbour's address in a later fragment": {
			"INVALID_SOURCE_IP", frame{src: podB4, dst: world4, fragment: fragment{id: 7, offset: 8}},
		},
		"IPv4 mapped into an IPv6 source":      {"MAPPED_ADDRESS", frame{src: "::ffff:10.0.1.2", dst: podB6, ethertype: ethIPv6}},
		"IPv4 mapped into an IPv6 destination": {"MAPPED_ADDRESS", frame{src: podA6, dst: "::ffff:10.0.1.3"}},
		"an unused address of this node":       {"STALE_OR_UNROUTABLE_IP", frame{src: podA4, dst: nobody4}},
		"an unused IPv6 address of this node":  {"STALE_OR_UNROUTABLE_IP", frame{src: podA6, dst: nobody6}},
		"a multicast group":                    {"MULTICAST", frame{src: podA4, dst: "224.0.0.251"}},
		"an IPv6 multicast group":              {"MULTICAST", frame{src: podA6, dst: "ff02::fb"}},
		"a broadcast":                          {"MULTICAST", frame{src: podA4, dst: "255.255.255.255"}},
		"a unicast packet in a broadcast frame": {
			"MULTICAST", frame{dmac: mac{255, 255, 255, 255, 255, 255}, src: podA4, dst: podB4},
		},
		"a DHCP offer":   {"DHCP_SERVER", frame{src: podA4, dst: "255.255.255.255", sport: 67, dport: 68}},
		"a DHCPv6 reply": {"DHCP_SERVER", frame{src: podA6, dst: podB6, sport: 547, dport: 546}},
		"an ICMP redirect": {
			"FORBIDDEN_ICMPV4", frame{src: podA4, dst: podB4, protocol: protoICMP, payload: []byte{5, 0, 0, 0, 0, 0, 0, 0}},
		},
		"an ICMP router advertisement": {
			"FORBIDDEN_ICMPV4", frame{src: podA4, dst: podB4, protocol: protoICMP, payload: []byte{9, 0, 0, 0, 0, 0, 0, 0}},
		},
		"an IPv6 router advertisement": {
			"FORBIDDEN_ICMPV6", frame{src: "fe80::1", dst: "ff02::1", protocol: protoICMPv6, payload: []byte{134, 0, 0, 0, 0, 0, 0, 0}},
		},
		"an IPv6 redirect behind extension headers": {
			"FORBIDDEN_ICMPV6", frame{
				src: podA6, dst: podB6, protocol: protoICMPv6, payload: []byte{137, 0, 0, 0, 0, 0, 0, 0},
				extensions: []byte{protoHopOpts, protoDstOpts},
			},
		},
		"LLDP":         {"UNSUPPORTED_L3_PROTOCOL", frame{ethertype: 0x88cc, raw: make([]byte, 50)}},
		"an IPX frame": {"UNSUPPORTED_L3_PROTOCOL", frame{ethertype: 0x8137, raw: make([]byte, 50)}},
		"a VLAN tag":   {"VLAN_FILTERED", frame{ethertype: ethVLAN, raw: make([]byte, 50)}},
		"an IPv4 header of another version": {
			"INVALID_PACKET", frame{ethertype: ethIPv4, raw: append([]byte{0x65}, make([]byte, 40)...)},
		},
		"an IPv4 header that is too short": {
			"INVALID_PACKET", frame{ethertype: ethIPv4, raw: append([]byte{0x44, 0, 0, 40}, make([]byte, 40)...)},
		},
		"an IPv4 length beyond the frame": {
			"INVALID_PACKET", frame{ethertype: ethIPv4, raw: append([]byte{0x45, 0, 1, 0}, make([]byte, 40)...)},
		},
		"an IPv6 length beyond the frame": {
			"INVALID_PACKET", frame{ethertype: ethIPv6, raw: append([]byte{0x60, 0, 0, 0, 1, 0, 17, 64}, make([]byte, 40)...)},
		},
		"UDP without ports": {
			"INVALID_PACKET", frame{ethertype: ethIPv4, raw: append([]byte{0x45, 0, 0, 22, 0, 0, 0, 0, 64, 17}, make([]byte, 12)...)},
		},
		"seven extension headers": {
			"INVALID_IPV6_EXTENSION", frame{src: podA6, dst: podB6, extensions: []byte{60, 60, 60, 60, 60, 60, 60}},
		},
		"two fragment headers": {
			"INVALID_IPV6_EXTENSION", frame{
				src: podA6, dst: podB6, extensions: []byte{protoFragment}, fragment: fragment{id: 9, more: true},
			},
		},
	} {
		steps[name] = step{run: run{in: b.fromA(c.in)}, wantAction: drop, wantCounted: egressOf(c.reason)}
	}
	b.check(t, from("from_pod", steps))
}

// TestTunnelsCannotBeForged needs root: no pod reaches a tunnel port but a pod's.
func TestTunnelsCannotBeForged(t *testing.T) {
	b := newBench(t, loader.Config{})
	steps := map[string]step{}
	for name, dst := range map[string]string{
		"this node": here4, "another node": there4, "another node by IPv6": there6, "an address nobody listed": world4,
		"the gateway": router4, "another node's router by IPv6": remoteRouter6,
	} {
		src := podA4
		if dst == there6 || dst == remoteRouter6 {
			src = podA6
		}
		steps["UDP to the tunnel port of "+name] = step{
			run:        run{in: b.fromA(frame{src: src, dst: dst, dport: tunnelPort, payload: make([]byte, 60)})},
			wantAction: drop, wantCounted: egressOf("ENCAP_PROHIBITED"),
		}
		steps["TCP to that port of "+name] = step{
			run:        run{in: b.fromA(frame{src: src, dst: dst, dport: tunnelPort, protocol: protoTCP})},
			wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
		}
	}
	toPod := b.fromA(frame{src: podA4, dst: podB4, dport: tunnelPort})
	steps["UDP to that port of a pod"] = step{
		run: run{in: toPod}, wantAction: redirect, wantCounted: both(), wantOut: hop(toPod, b.b.ifc.HostMAC, b.b.ifc.MAC),
	}
	b.check(t, from("from_pod", steps))
}

// TestToPod needs root: who is allowed to come through the host's stack, and as whom.
func TestToPod(t *testing.T) {
	type want struct {
		action uint32
		reason string
	}
	host := mac{2, 0, 0, 0, 0, 1}
	in := func(b *bench, src, dst string) frame {
		return frame{smac: host, dmac: mac(b.a.ifc.MAC), src: src, dst: dst}
	}
	tunnelled := newBench(t, loader.Config{})
	native := newBench(t, loader.Config{Native: true})
	for name, c := range map[string]struct {
		src, dst string
		mark     uint32
		tunnel   want
		native   want
	}{
		"the gateway":               {router4, podA4, 0, want{pass, "forwarded"}, want{pass, "forwarded"}},
		"the gateway, IPv6":         {router6, podA6, 0, want{pass, "forwarded"}, want{pass, "forwarded"}},
		"this node":                 {here4, podA4, 0, want{pass, "forwarded"}, want{pass, "forwarded"}},
		"the world":                 {world4, podA4, 0, want{pass, "forwarded"}, want{pass, "forwarded"}},
		"the world, IPv6":           {world6, podA6, 0, want{pass, "forwarded"}, want{pass, "forwarded"}},
		"another node":              {there4, podA4, 0, want{pass, "forwarded"}, want{pass, "forwarded"}},
		"a marked pod of this node": {podB4, podA4, mark(identityB), want{pass, "forwarded"}, want{pass, "forwarded"}},
		"a marked remote pod":       {remotePod6, podA6, mark(identityRemote), want{pass, "forwarded"}, want{pass, "forwarded"}},
		"an unmarked pod of this node": {
			podB4, podA4, 0, want{drop, "UNKNOWN_SENDER"}, want{drop, "UNKNOWN_SENDER"},
		},
		"kube-proxy's mark is not ours": {
			podB4, podA4, 0x4000, want{drop, "UNKNOWN_SENDER"}, want{drop, "UNKNOWN_SENDER"},
		},
		"an unmarked remote pod":         {remotePod4, podA4, 0, want{drop, "UNKNOWN_SENDER"}, want{pass, "forwarded"}},
		"an unmarked remote pod, IPv6":   {remotePod6, podA6, 0, want{drop, "UNKNOWN_SENDER"}, want{pass, "forwarded"}},
		"an address in a remote range":   {remoteNew4, podA4, 0, want{drop, "UNKNOWN_SENDER"}, want{drop, "UNKNOWN_POD"}},
		"for an address the pod has not": {router4, podB4, 0, want{drop, "NO_LOCAL_POD"}, want{drop, "NO_LOCAL_POD"}},
		"for a group":                    {router4, "224.0.0.1", 0, want{drop, "MULTICAST"}, want{drop, "MULTICAST"}},
	} {
		for _, road := range []struct {
			name  string
			bench *bench
			want  want
		}{{"tunnel", tunnelled, c.tunnel}, {"native", native, c.native}} {
			s := step{
				run:        run{in: in(road.bench, c.src, c.dst), mark: c.mark},
				wantAction: road.want.action, wantMark: c.mark, wantCounted: ingressOf(road.want.reason),
			}
			if c.mark&markIdentity == markIdentity {
				s.wantMark = 0
			}
			road.bench.check(t, from("to_pod", map[string]step{name + ", " + road.name: s}))
		}
	}
}

// TestToPodDropsNoise needs root: what the host's kernel says unasked.
func TestToPodDropsNoise(t *testing.T) {
	b := newBench(t, loader.Config{})
	steps := map[string]step{
		"ARP": {run: run{in: frame{ethertype: ethARP, raw: arp(1, mac{2}, router4, mac{}, podA4)}}},
	}
	for name, kind := range map[string]byte{
		"an MLD report": 143, "a router solicitation": 133, "a neighbour solicitation": 135, "a router advertisement": 134,
	} {
		steps[name] = step{run: run{in: frame{
			dmac: mac{0x33, 0x33, 0, 0, 0, 2}, src: "fe80::1", dst: "ff02::2", protocol: protoICMPv6,
			payload: neighborMessage(kind, 0, podA6, 0, mac{}),
		}}}
	}
	for name, s := range steps {
		s.wantAction, s.wantCounted = drop, ingressOf("NOISE")
		steps[name] = s
	}
	b.check(t, from("to_pod", steps))
}

// TestADeviceWithoutEndpointIsMute needs root: neither way, not even ARP.
func TestADeviceWithoutEndpointIsMute(t *testing.T) {
	b := newBench(t, loader.Config{})
	must(t, b.maps.DeleteEndpoint(b.a.ifc.HostIndex, b.a.endpoint.Addrs))
	b.check(t, map[string]step{
		"what it sends": {
			run:        run{program: "from_pod", in: b.fromA(frame{src: podA4, dst: podB4})},
			wantAction: drop, wantCounted: egressOf("ENDPOINT_NOT_READY"),
		},
		"what it asks": {
			run: run{program: "from_pod", in: b.fromA(frame{
				ethertype: ethARP, raw: arp(1, mac(b.a.ifc.MAC), podA4, mac{}, router4),
			})},
			wantAction: drop, wantCounted: egressOf("ENDPOINT_NOT_READY"),
		},
		"what comes for it": {
			run:        run{program: "to_pod", in: frame{src: router4, dst: podA4}},
			wantAction: drop, wantCounted: ingressOf("ENDPOINT_NOT_READY"),
		},
		"what another pod sends it": {
			run: run{program: "from_pod", device: b.b.ifc.HostIndex, in: frame{
				smac: mac(b.b.ifc.MAC), dmac: mac(b.b.ifc.HostMAC), src: podB4, dst: podA4,
			}},
			wantAction: drop, wantCounted: egressOf("STALE_OR_UNROUTABLE_IP"),
		},
	})
}

//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// TestARP needs root: the gateway is answered for, and nobody else.
func TestARP(t *testing.T) {
	b := newBench(t, loader.Config{})
	pod, host := mac(b.a.ifc.MAC), mac(b.a.ifc.HostMAC)
	ask := func(body []byte) frame { return frame{smac: pod, dmac: broadcast(), ethertype: ethARP, raw: body} }
	answer := frame{smac: host, dmac: pod, ethertype: ethARP, raw: arp(2, host, router4, pod, podA4)}
	cut := ask(arp(1, pod, podA4, mac{}, router4))
	cut.raw = cut.raw[:20]
	wrong := ask(arp(1, pod, podA4, mac{}, router4))
	wrong.raw[1] = 6
	steps := map[string]step{
		"for the gateway": {
			run: run{in: ask(arp(1, pod, podA4, mac{}, router4)), mark: 5}, wantAction: redirect,
			wantCounted: egressOf("forwarded"), wantOut: &answer,
		},
	}
	for name, c := range map[string]struct {
		reason string
		in     frame
	}{
		"for another pod":          {"NEIGHBOR", ask(arp(1, pod, podA4, mac{}, podB4))},
		"for the node":             {"NEIGHBOR", ask(arp(1, pod, podA4, mac{}, here4))},
		"announcing itself":        {"NOISE", ask(arp(1, pod, podA4, mac{}, podA4))},
		"probing its address":      {"NOISE", ask(arp(1, pod, "0.0.0.0", mac{}, podA4))},
		"answering unasked":        {"NOISE", ask(arp(2, pod, podA4, host, router4))},
		"as another pod":           {"INVALID_SOURCE_IP", ask(arp(1, pod, podB4, mac{}, router4))},
		"as the gateway":           {"NOISE", ask(arp(1, pod, router4, mac{}, router4))},
		"with another's MAC":       {"INVALID_SOURCE_MAC", ask(arp(1, mac{2, 9}, podA4, mac{}, router4))},
		"cut short":                {"INVALID_PACKET", cut},
		"of another hardware type": {"INVALID_PACKET", wrong},
	} {
		steps[name] = step{run: run{in: c.in}, wantAction: drop, wantCounted: egressOf(c.reason)}
	}
	b.check(t, from("from_pod", steps))
}

// TestNeighborDiscovery needs root: as TestARP, and what IPv6 adds to it.
func TestNeighborDiscovery(t *testing.T) {
	b := newBench(t, loader.Config{})
	pod, host := mac(b.a.ifc.MAC), mac(b.a.ifc.HostMAC)
	ask := func(src, target string, option byte) frame {
		return frame{
			smac: pod, dmac: mac{0x33, 0x33, 0xff, 0, 0, 1}, src: src, dst: "ff02::1:ff00:1", ttl: 255, protocol: protoICMPv6,
			payload: neighborMessage(135, 0, target, option, pod),
		}
	}
	answer := func(to string) *frame {
		return &frame{
			smac: host, dmac: pod, src: router6, dst: to, ttl: 255, protocol: protoICMPv6,
			payload: neighborMessage(136, 0xe0, router6, 2, host),
		}
	}
	routed := ask(podA6, router6, 1)
	routed.ttl = 254
	extended := ask(podA6, router6, 1)
	extended.extensions = []byte{protoHopOpts}
	coded := ask(podA6, router6, 1)
	coded.payload[1] = 1
	probe := frame{
		smac: pod, dmac: host, src: podA6, dst: router6, ttl: 255, protocol: protoICMPv6,
		payload: neighborMessage(135, 0, router6, 0, mac{}),
	}
	answerFrame := func(to string) *frame { f := answer(to); f.dst = to; return f }
	// The answer keeps the question's hop limit, flow label and class.
	steps := map[string]step{
		"for the gateway": {
			run: run{in: ask(podA6, router6, 1), mark: 5}, wantAction: redirect, wantCounted: egressOf("forwarded"),
			wantOut: answerFrame(podA6),
		},
		"for the gateway from a link-local address": {
			run: run{in: ask("fe80::2", router6, 1)}, wantAction: redirect, wantCounted: egressOf("forwarded"),
			wantOut: answerFrame("fe80::2"),
		},
		"whether the gateway is still there, without an option": {
			run: run{in: probe}, wantAction: redirect, wantCounted: egressOf("forwarded"), wantOut: answerFrame(podA6),
		},
	}
	message := func(kind byte) frame {
		return frame{
			smac: pod, dmac: mac{0x33, 0x33, 0, 0, 0, 0x16}, src: "fe80::2", dst: "ff02::16", ttl: 1, protocol: protoICMPv6,
			payload: neighborMessage(kind, 0, podA6, 0, mac{}), extensions: []byte{protoHopOpts},
		}
	}
	for name, c := range map[string]struct {
		reason string
		in     frame
	}{
		"for another pod":               {"NEIGHBOR", ask(podA6, podB6, 1)},
		"for the node":                  {"NEIGHBOR", ask(podA6, here6, 1)},
		"for its own address":           {"NOISE", ask("::", podA6, 0)},
		"as another pod":                {"INVALID_SOURCE_IP", ask(podB6, router6, 1)},
		"from beyond a router":          {"INVALID_PACKET", routed},
		"behind an extension header":    {"INVALID_PACKET", extended},
		"with a code":                   {"INVALID_PACKET", coded},
		"with another's MAC":            {"INVALID_SOURCE_MAC", frame{smac: mac{2, 9}, src: podA6, dst: router6, protocol: protoICMPv6, payload: probe.payload}},
		"an advertisement nobody asked": {"NOISE", message(136)},
		"an MLDv2 report":               {"NOISE", message(143)},
		"an MLD report":                 {"NOISE", message(131)},
		"leaving a group":               {"NOISE", message(132)},
		"an MLD query":                  {"NOISE", message(130)},
		"a router solicitation":         {"NOISE", message(133)},
		"a router advertisement":        {"FORBIDDEN_ICMPV6", message(134)},
		"a redirect":                    {"FORBIDDEN_ICMPV6", message(137)},
	} {
		steps[name] = step{run: run{in: c.in}, wantAction: drop, wantCounted: egressOf(c.reason)}
	}
	b.check(t, from("from_pod", steps))
}

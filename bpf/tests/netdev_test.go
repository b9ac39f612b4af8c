//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// TestFromNetdev needs root: native routing's other end. What is not from pod to pod is left to others.
func TestFromNetdev(t *testing.T) {
	b := newBench(t, loader.Config{Native: true})
	in := func(src, dst string) frame { return frame{dmac: mac(b.a.ifc.HostMAC), src: src, dst: dst} }
	steps := map[string]step{}
	for name, f := range map[string]frame{
		"a remote pod": in(remotePod4, podA4), "a remote pod, IPv6": in(remotePod6, podA6), "a third node's pod": in(thirdPod4, podA4),
	} {
		steps[name] = step{
			run: run{in: f, mark: 77}, wantAction: redirect, wantCounted: ingressOf("forwarded"),
			wantOut: hop(f, b.a.ifc.HostMAC, b.a.ifc.MAC),
		}
	}
	lastHop := in(remotePod4, podA4)
	lastHop.ttl = 1
	foreign := in(remotePod4, podA4)
	foreign.dmac = mac{2, 9}
	for name, f := range map[string]frame{
		"a node to a pod": in(there4, podA4), "a router to a pod": in(remoteRouter4, podA4), "the world to a pod": in(world4, podA4),
		"a pod to this node": in(remotePod4, here4), "the world to this node": in(world6, here6), "a last hop": lastHop,
		"a frame for another machine": foreign, "a pod to nobody": in(remotePod4, nobody4),
		"ARP":      {dmac: broadcast(), ethertype: ethARP, raw: arp(1, mac{2}, there4, mac{}, here4)},
		"LLDP":     {dmac: mac(b.a.ifc.HostMAC), ethertype: 0x88cc, raw: make([]byte, 50)},
		"nonsense": {dmac: mac(b.a.ifc.HostMAC), ethertype: ethIPv4, raw: make([]byte, 50)},
	} {
		steps[name] = step{run: run{in: f}, wantAction: next}
	}
	for name, c := range map[string]struct {
		reason string
		in     frame
	}{
		"a pod of this node comes from outside":     {"UNKNOWN_SENDER", in(podB4, podA4)},
		"an unused address of this node from there": {"UNKNOWN_SENDER", in(nobody6, podA6)},
		"a pod nobody knows":                        {"UNKNOWN_POD", in(remoteNew4, podA4)},
		"a pod nobody knows, IPv6":                  {"UNKNOWN_POD", in(remoteNew6, podA6)},
	} {
		steps[name] = step{run: run{in: c.in}, wantAction: drop, wantCounted: ingressOf(c.reason)}
	}
	b.check(t, from("from_netdev", steps))
}

// TestFromNetdevThroughTheStack needs root.
func TestFromNetdevThroughTheStack(t *testing.T) {
	b := newBench(t, loader.Config{Native: true, StackForwarding: true})
	b.check(t, from("from_netdev", map[string]step{
		"a remote pod": {run: run{in: frame{dmac: mac(b.a.ifc.HostMAC), src: remotePod4, dst: podA4}}, wantAction: next},
		"a pod nobody knows": {
			run:        run{in: frame{dmac: mac(b.a.ifc.HostMAC), src: remoteNew4, dst: podA4}},
			wantAction: drop, wantCounted: ingressOf("UNKNOWN_POD"),
		},
	}))
}

// TestToNetdev needs root: our mark ends at the card, and so does what became a tunnel packet on the way.
func TestToNetdev(t *testing.T) {
	outer := frame{src: here4, dst: there4, dport: tunnelPort}
	translated := frame{src: here4, dst: there4, dport: tunnelPort}
	for name, c := range map[string]struct {
		config loader.Config
		step   step
	}{
		"the host's own":        {step: step{run: run{in: frame{src: here4, dst: world4}}, wantAction: next}},
		"the tunnel's packet":   {step: step{run: run{in: outer}, wantAction: next}},
		"a pod's to a pod":      {config: loader.Config{Native: true}, step: step{run: run{in: frame{src: podA4, dst: remotePod4}, mark: markKeyed}, wantAction: next}},
		"another's mark":        {step: step{run: run{in: outer, mark: 0x4000}, wantAction: next, wantMark: 0x4000}},
		"a pod's packet":        {step: step{run: run{in: frame{src: here4, dst: world4}, mark: mark(identityA) | 0x4000}, wantAction: next, wantMark: 0x4000}},
		"a pod's packet, IPv6":  {step: step{run: run{in: frame{src: here6, dst: world6}, mark: mark(identityA)}, wantAction: next}},
		"a pod's, not IP":       {step: step{run: run{in: frame{ethertype: 0x88cc, raw: make([]byte, 50)}, mark: mark(identityA)}, wantAction: next}},
		"a pod's, to a tunnel":  {step: step{run: run{in: translated, mark: mark(identityA)}, wantAction: drop, wantCounted: egressOf("ENCAP_PROHIBITED")}},
		"a pod's, with routing": {config: loader.Config{Native: true}, step: step{run: run{in: translated, mark: mark(identityA)}, wantAction: next}},
	} {
		newBench(t, c.config).check(t, from("to_netdev", map[string]step{name: c.step}))
	}
}

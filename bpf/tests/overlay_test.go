//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// TestFromOverlay needs root: what the tunnel brings, as whom, and what it may not bring.
func TestFromOverlay(t *testing.T) {
	b := newBench(t, loader.Config{})
	aMAC, aHost := b.a.ifc.MAC, b.a.ifc.HostMAC
	elsewhere := mac{2, 0, 0, 0, 2, 2}
	in := func(src, dst string) frame {
		return frame{smac: elsewhere, dmac: mac{2, 0, 0, 0, 2, 3}, src: src, dst: dst}
	}
	steps := map[string]step{}
	for name, c := range map[string]struct {
		in     frame
		tunnel tunnel
	}{
		"a remote pod":                   {in(remotePod4, podA4), tunnel{there4, identityRemote}},
		"a remote pod, IPv6":             {in(remotePod6, podA6), tunnel{there4, identityRemote}},
		"an identity newer than ipcache": {in(remotePod4, podA4), tunnel{there4, identityThird}},
		"a pod newer than ipcache":       {in(remoteNew4, podA4), tunnel{there4, identityRemote}},
		"a pod newer than ipcache, IPv6": {in(remoteNew6, podA6), tunnel{there4, identityRemote}},
		"a node as host":                 {in(there4, podA4), tunnel{there4, 1}},
		"a node as remote node":          {in(there4, podA4), tunnel{there4, 6}},
		"a node's other address":         {in(there6, podA6), tunnel{there4, 1}},
		"a router":                       {in(remoteRouter4, podA4), tunnel{there4, 1}},
		"a router, IPv6":                 {in(remoteRouter6, podA6), tunnel{there4, 1}},
	} {
		steps[name] = step{
			run: run{in: c.in, tunnel: c.tunnel}, wantAction: redirect, wantCounted: ingressOf("forwarded"),
			wantOut: hop(c.in, aHost, aMAC),
		}
	}
	lastHop := in(remotePod4, podA4)
	lastHop.ttl = 1
	for name, c := range map[string]struct {
		in       frame
		tunnel   tunnel
		identity datapath.Identity
	}{
		"for the router":              {in(remotePod4, router4), tunnel{there4, identityRemote}, identityRemote},
		"for the router, IPv6":        {in(remotePod6, router6), tunnel{there4, identityRemote}, identityRemote},
		"for this node":               {in(remotePod4, here4), tunnel{there4, identityRemote}, identityRemote},
		"for this node from a node":   {in(there4, here4), tunnel{there4, 1}, 6},
		"a last hop is for the stack": {lastHop, tunnel{there4, identityRemote}, identityRemote},
	} {
		steps[name] = step{run: run{in: c.in, tunnel: c.tunnel}, wantAction: pass, wantMark: mark(c.identity)}
	}
	for name, c := range map[string]struct {
		reason string
		in     frame
		tunnel tunnel
	}{
		"a reserved identity":               {"INVALID_VNI", in(remotePod4, podA4), tunnel{there4, 2}},
		"identity 0":                        {"INVALID_VNI", in(remotePod4, podA4), tunnel{there4, 0}},
		"the last reserved identity":        {"INVALID_VNI", in(remotePod4, podA4), tunnel{there4, 255}},
		"an identity nobody has":            {"INVALID_IDENTITY", in(remotePod4, podA4), tunnel{there4, 4711}},
		"an identity beyond marks":          {"INVALID_IDENTITY", in(remotePod4, podA4), tunnel{there4, 0xffffff}},
		"a pod of a third node":             {"TUNNEL_SOURCE", in(thirdPod4, podA4), tunnel{there4, identityThird}},
		"a pod of this node":                {"TUNNEL_SOURCE", in(podB4, podA4), tunnel{there4, identityB}},
		"an address of this node":           {"TUNNEL_SOURCE", in(here4, podA4), tunnel{there4, 1}},
		"the world":                         {"TUNNEL_SOURCE", in(world4, podA4), tunnel{there4, identityRemote}},
		"a third node":                      {"TUNNEL_SOURCE", in(third4, podA4), tunnel{there4, 1}},
		"a pod that calls itself host":      {"TUNNEL_SOURCE", in(remotePod4, podA4), tunnel{there4, 1}},
		"a node that calls itself a pod":    {"TUNNEL_SOURCE", in(there4, podA4), tunnel{there4, identityRemote}},
		"from an address of the world":      {"UNKNOWN_SENDER", in(remotePod4, podA4), tunnel{world4, identityRemote}},
		"from an IPv6 address of the world": {"UNKNOWN_SENDER", in(remotePod6, podA6), tunnel{world6, identityRemote}},
		"from a pod of this node":           {"UNKNOWN_SENDER", in(remotePod4, podA4), tunnel{podB4, identityRemote}},
		"from a node's other address":       {"TUNNEL_SOURCE", in(remotePod4, podA4), tunnel{there6, identityRemote}},
		"for nobody":                        {"NO_LOCAL_POD", in(remotePod4, nobody4), tunnel{there4, identityRemote}},
		"for a third node's pod":            {"NO_LOCAL_POD", in(remotePod4, thirdPod4), tunnel{there4, identityRemote}},
		"for the world":                     {"NO_LOCAL_POD", in(remotePod4, world4), tunnel{there4, identityRemote}},
		"for a group":                       {"MULTICAST", in(remotePod4, "224.0.0.1"), tunnel{there4, identityRemote}},
		"ARP":                               {"NOISE", frame{ethertype: ethARP, raw: arp(1, mac{2}, router4, mac{}, podA4)}, tunnel{there4, 1}},
		"a mapped address":                  {"MAPPED_ADDRESS", in("::ffff:10.0.2.2", podA6), tunnel{there4, identityRemote}},
		"another protocol":                  {"UNSUPPORTED_L3_PROTOCOL", frame{ethertype: 0x88cc, raw: make([]byte, 50)}, tunnel{there4, 1}},
	} {
		steps[name] = step{run: run{in: c.in, tunnel: c.tunnel}, wantAction: drop, wantCounted: ingressOf(c.reason)}
	}
	steps["no tunnel metadata"] = step{
		run: run{program: "from_overlay", in: in(remotePod4, podA4)}, wantAction: drop, wantCounted: ingressOf("NO_TUNNEL_KEY"),
	}
	b.check(t, steps)
}

// TestFromOverlayThroughTheStack needs root.
func TestFromOverlayThroughTheStack(t *testing.T) {
	b := newBench(t, loader.Config{StackForwarding: true})
	b.check(t, map[string]step{
		"a remote pod": {
			run:        run{in: frame{src: remotePod4, dst: podA4}, tunnel: tunnel{there4, identityRemote}},
			wantAction: pass, wantMark: mark(identityRemote),
		},
		"a node": {
			run:        run{in: frame{src: remoteRouter6, dst: podA6}, tunnel: tunnel{there4, 1}},
			wantAction: pass, wantMark: mark(6),
		},
	})
}

// TestToOverlay needs root: what may leave through the tunnel. Which key it gets, TestTheWire shows.
func TestToOverlay(t *testing.T) {
	b := newBench(t, loader.Config{})
	steps := map[string]step{
		"a packet from_pod has keyed":    {run: run{in: frame{src: podA4, dst: remotePod4}, mark: markKeyed}},
		"the router":                     {run: run{in: frame{src: router4, dst: remotePod4}}},
		"the router, IPv6":               {run: run{in: frame{src: router6, dst: remotePod6}}},
		"this node":                      {run: run{in: frame{src: here4, dst: remotePod4}}},
		"to another node's router":       {run: run{in: frame{src: router4, dst: remoteRouter4}}},
		"to a pod known by its range":    {run: run{in: frame{src: router4, dst: remoteNew4}}},
		"a marked pod through the stack": {run: run{in: frame{src: podA4, dst: remotePod4}, mark: mark(identityA)}},
	}
	for name, c := range map[string]struct {
		reason string
		in     frame
	}{
		"an unmarked pod":        {"INVALID_SOURCE_IP", frame{src: podA4, dst: remotePod4}},
		"a container of another": {"INVALID_SOURCE_IP", frame{src: "172.17.0.2", dst: remotePod4}},
		"to the world":           {"NO_TUNNEL_ENDPOINT", frame{src: router4, dst: world4}},
		"to a pod here":          {"NO_TUNNEL_ENDPOINT", frame{src: router4, dst: podA4}},
		"ARP":                    {"NOISE", frame{ethertype: ethARP, raw: arp(1, mac{2}, router4, mac{}, podA4)}},
		"a router solicitation": {"NOISE", frame{
			src: "fe80::1", dst: "ff02::2", protocol: protoICMPv6, payload: []byte{133, 0, 0, 0, 0, 0, 0, 0},
		}},
		"to a group": {"MULTICAST", frame{src: router4, dst: "224.0.0.22"}},
	} {
		steps[name] = step{run: run{in: c.in}, wantAction: drop, wantCounted: egressOf(c.reason)}
	}
	b.check(t, from("to_overlay", steps))
}

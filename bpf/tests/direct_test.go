//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// routeMTU is what the way to the world takes; the kernel believes in routes' MTUs for what it forwards if they are locked.
const routeMTU = 1300

// newDirectGate is a gate whose card packets reach past the stack, with a default route of each family.
func newDirectGate(t *testing.T, cfg loader.Config) gate {
	t.Helper()
	g := newGate(t, cfg)
	g.setCard(t, maps.Card{Masquerades: true, Direct: true}, here4, here6)
	for _, everywhere := range []string{"0.0.0.0/0", "::/0"} {
		must(t, g.link.RouteAdd(&netlink.Route{
			Dst: network(netip.MustParsePrefix(everywhere)), LinkIndex: g.card, MTU: routeMTU, MTULock: true,
		}))
	}
	return g
}

// TestOutPastTheStack needs root: from_pod chooses the card, which is told whose the packet is.
func TestOutPastTheStack(t *testing.T) {
	for family, s := range bothSides() {
		for mode, cfg := range map[string]loader.Config{"tunnel": {}, "native": {Native: true}} {
			t.Run(family+" "+mode, func(t *testing.T) {
				g := newDirectGate(t, cfg)
				to := func(dst string) frame { return g.fromA(frame{src: s.podA, dst: dst, dontFragment: true}) }
				steps := map[string]step{}
				for name, dst := range map[string]string{"the world": s.world, "another node": s.there} {
					f := to(dst)
					steps[name] = step{
						run: run{in: f}, wantAction: redirect, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
						wantOut: hop(f, f.smac[:], f.dmac[:]),
					}
				}
				last := to(s.world)
				last.ttl = 1
				for name, f := range map[string]frame{
					"this node": to(s.node), "a last hop": last, "more than the way takes": g.sized(to(s.world), routeMTU+1),
				} {
					steps[name+" is the stack's"] = step{
						run: run{in: f}, wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
					}
				}
				g.check(t, from("from_pod", steps))
				g.setCard(t, maps.Card{Masquerades: true}, here4, here6)
				g.check(t, from("from_pod", map[string]step{"a device that is none of ours to judge": {
					run: run{in: to(s.world)}, wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
				}}))
			})
		}
	}
}

// TestInPastTheStack needs root: answers to pods, and questions under their own addresses.
func TestInPastTheStack(t *testing.T) {
	for family, s := range bothSides() {
		for mode, cfg := range map[string]loader.Config{"tunnel": {}, "native": {Native: true}} {
			t.Run(family+" "+mode, func(t *testing.T) {
				g := newDirectGate(t, cfg)
				g.out(t, frame{src: s.podA, dst: s.world, sport: natFirst, dport: 53})
				answer := frame{src: s.world, dst: s.node, sport: 53, dport: natFirst}
				got := answer
				got.dst = s.podA
				question := frame{src: s.world, dst: s.podA, sport: 41000, dport: 80}
				last := question
				last.ttl = 1
				forged, spoofed := question, question
				forged.src, spoofed.src = s.node, s.podB
				steps := map[string]step{
					"an answer": {
						run: run{in: answer}, wantAction: redirect, wantCounted: ingressOf("forwarded"),
						wantOut: hop(got, g.a.ifc.HostMAC, g.a.ifc.MAC),
					},
					"a question": {
						run: run{in: question}, wantAction: redirect, wantCounted: ingressOf("forwarded"),
						wantOut: hop(question, g.a.ifc.HostMAC, g.a.ifc.MAC),
					},
					"a last hop is the stack's":              {run: run{in: last}, wantAction: next},
					"an address of this node is the stack's": {run: run{in: forged}, wantAction: next},
					"what is for this node is the stack's":   {run: run{in: frame{src: s.world, dst: s.node, dport: 22}}, wantAction: next},
					"a later fragment that came before the first": {
						run:        run{in: frame{src: s.world, dst: s.podA, fragment: fragment{id: 9, offset: 72}, payload: make([]byte, 64)}},
						wantAction: drop, wantCounted: ingressOf("FRAGMENT_NOT_FOUND"),
					},
				}
				if !cfg.Native {
					steps["a pod is nowhere but in the tunnel"] = step{run: run{in: spoofed}, wantAction: next}
				}
				for name, c := range steps {
					c.device = g.card
					steps[name] = c
				}
				g.check(t, from("from_netdev", steps))
			})
		}
	}
}

// TestACardThatDoesNotMasquerade needs root: pods are known outside by their own addresses.
func TestACardThatDoesNotMasquerade(t *testing.T) {
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{Native: true})
			g.setCard(t, maps.Card{Direct: true}, here4, here6)
			f := frame{src: s.podA, dst: s.world, sport: natFirst, dport: 53, summed: true}
			g.leaves(t, "a question", f, f)
		})
	}
}

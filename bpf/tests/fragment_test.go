//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"fmt"
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// TestFragments needs root: later fragments are known by the first, in both families, and judged by its ports.
func TestFragments(t *testing.T) {
	for name, c := range map[string]struct{ src, pod, node string }{
		"IPv4": {podA4, podB4, there4}, "IPv6": {podA6, podB6, there6},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, loader.Config{})
			piece := func(dst string, id uint32, offset int, port uint16) frame {
				f := frame{src: c.src, dst: dst, dport: port, payload: make([]byte, 64)}
				f.fragment = fragment{id: id, offset: offset, more: offset == 0}
				return b.fromA(f)
			}
			lost := step{wantAction: drop, wantCounted: egressOf("FRAGMENT_NOT_FOUND")}
			delivered := func(in frame) step {
				return step{wantAction: redirect, wantCounted: both(), wantOut: hop(in, b.b.ifc.HostMAC, b.b.ifc.MAC)}
			}
			forged := step{wantAction: drop, wantCounted: egressOf("ENCAP_PROHIBITED")}
			up := step{wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded")}
			other := piece(c.pod, 1, 72, 80)
			other.protocol = protoTCP
			for i, s := range []struct {
				in   frame
				want step
			}{
				{piece(c.pod, 1, 72, 80), lost},
				{piece(c.pod, 1, 0, 80), delivered(piece(c.pod, 1, 0, 80))},
				{piece(c.pod, 1, 72, 80), delivered(piece(c.pod, 1, 72, 80))},
				{piece(c.pod, 2, 72, 80), lost},
				{other, lost},
				{piece(c.node, 1, 72, 80), lost},
				{piece(c.node, 3, 0, 80), up},
				{piece(c.node, 3, 72, 0), up},
				{piece(c.node, 4, 0, tunnelPort), forged},
				{piece(c.node, 4, 72, 0), forged},
			} {
				s.want.run = run{program: "from_pod", in: s.in}
				b.check(t, map[string]step{fmt.Sprint("packet ", i): s.want})
			}
		})
	}
}

// TestASingleFragmentNeedsNoMemory needs root: an IPv6 packet in a single fragment needs no memory.
func TestASingleFragmentNeedsNoMemory(t *testing.T) {
	b := newBench(t, loader.Config{})
	in := b.fromA(frame{src: podA6, dst: podB6, fragment: fragment{id: 5}})
	b.check(t, map[string]step{"an atomic fragment": {
		run: run{program: "from_pod", in: in}, wantAction: redirect, wantCounted: both(),
		wantOut: hop(in, b.b.ifc.HostMAC, b.b.ifc.MAC),
	}})
	if err := b.objects.Map("fragments").Lookup(bpfgen.FragmentKey{}, &bpfgen.FragmentPorts{}); err == nil {
		t.Error("something was remembered")
	}
}

// TestFragmentsOnTheOtherWays needs root: through the stack, the tunnel and a card.
func TestFragmentsOnTheOtherWays(t *testing.T) {
	tunnelled, native := newBench(t, loader.Config{}), newBench(t, loader.Config{Native: true})
	for name, c := range map[string]struct {
		bench   *bench
		run     run
		src     string
		action  uint32
		counted []row
	}{
		"to_pod":       {tunnelled, run{program: "to_pod"}, router4, pass, ingressOf("forwarded")},
		"from_overlay": {tunnelled, run{tunnel: tunnel{there4, identityRemote}}, remotePod4, redirect, ingressOf("forwarded")},
		"from_netdev":  {native, run{program: "from_netdev"}, remotePod4, redirect, ingressOf("forwarded")},
	} {
		piece := func(offset int) frame {
			return frame{
				dmac: mac(c.bench.a.ifc.HostMAC), src: c.src, dst: podA4, payload: make([]byte, 64),
				fragment: fragment{id: 9, offset: offset, more: offset == 0},
			}
		}
		for i, offset := range []int{72, 0, 72} {
			s := step{run: c.run, wantAction: c.action, wantCounted: c.counted}
			s.in = piece(offset)
			switch {
			case i == 0:
				s.wantAction, s.wantCounted = drop, ingressOf("FRAGMENT_NOT_FOUND")
			case c.action == redirect:
				s.wantOut = hop(s.in, c.bench.a.ifc.HostMAC, c.bench.a.ifc.MAC)
			}
			c.bench.check(t, map[string]step{fmt.Sprint(name, ", packet ", i): s})
		}
	}
}

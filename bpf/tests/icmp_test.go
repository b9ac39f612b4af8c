//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// quoted is how much of a packet comes back in an error.
const quoted = 256

// tooBig is the answer to a frame that does not fit.
func tooBig(b *bench, in frame, mtu int) *frame {
	original := in.bytes()[ethHeader:]
	out := &frame{smac: mac(b.a.ifc.HostMAC), dmac: mac(b.a.ifc.MAC), src: router4, dst: podA4, protocol: protoICMP}
	head := []byte{3, 4, 0, 0, 0, 0, 0, 0}
	if netip.MustParseAddr(in.src).Is6() {
		out.src, out.dst, out.protocol, head[0], head[1] = router6, podA6, protoICMPv6, 2, 0
	}
	binary.BigEndian.PutUint32(head[4:], uint32(mtu))
	out.payload = append(head, original[:quoted]...)
	return out
}

// TestTooBig needs root: which packets are answered, which pass, and which are only dropped.
func TestTooBig(t *testing.T) {
	// b has a tunnel, where what may be cut goes to the stack.
	b := newBench(t, loader.Config{})
	udp4 := frame{src: podA4, dst: remotePod4, dontFragment: true}
	udp6 := frame{src: podA6, dst: remotePod6}
	tcp4 := frame{src: podA4, dst: remotePod4, protocol: protoTCP, dontFragment: true}
	cuttable := frame{src: podA4, dst: remotePod4}
	answered := func(in frame) step {
		return step{run: run{in: in, mark: 3}, wantAction: redirect, wantCounted: egressOf("TOO_BIG"), wantOut: tooBig(b, in, pathMTU)}
	}
	sent := func(in frame) step {
		return step{
			run: run{in: in}, wantAction: redirect, wantMark: markKeyed, wantCounted: egressOf("forwarded"),
			wantOut: hop(in, b.a.ifc.MAC, b.a.ifc.HostMAC),
		}
	}
	echoError := func(v6 bool) frame {
		if v6 {
			return frame{src: podA6, dst: remotePod6, protocol: protoICMPv6, payload: []byte{1, 0, 0, 0, 0, 0, 0, 0}}
		}
		return frame{src: podA4, dst: remotePod4, protocol: protoICMP, dontFragment: true, payload: []byte{3, 3, 0, 0, 0, 0, 0, 0}}
	}
	dropped := func(in frame) step {
		return step{run: run{in: in}, wantAction: drop, wantCounted: egressOf("TOO_BIG")}
	}
	gso := func(s step, size uint32) step { s.gsoSize = size; return s }
	echo := frame{src: podA6, dst: remotePod6, protocol: protoICMPv6, payload: echoRequest(true, 0)}
	b.check(t, from("from_pod", map[string]step{
		"IPv4 that just fits":      sent(b.sized(udp4, pathMTU)),
		"IPv6 that just fits":      sent(b.sized(udp6, pathMTU)),
		"IPv4, one byte more":      answered(b.sized(udp4, pathMTU+1)),
		"IPv6, one byte more":      answered(b.sized(udp6, pathMTU+1)),
		"an IPv6 echo":             answered(b.sized(echo, pathMTU+1)),
		"an ICMP error":            dropped(b.sized(echoError(false), pathMTU+1)),
		"an ICMPv6 error":          dropped(b.sized(echoError(true), pathMTU+1)),
		"segments that fit":        gso(sent(b.sized(tcp4, 3000)), pathMTU-40),
		"segments that do not fit": gso(answered(b.sized(tcp4, 3000)), pathMTU-39),
		"UDP segments that fit":    gso(sent(b.sized(udp6, 3000)), pathMTU-48),
		"UDP segments that do not": gso(answered(b.sized(udp6, 3000)), pathMTU-47),
		"what may be cut": {
			run: run{in: b.sized(cuttable, pathMTU+1)}, wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
		},
	}))
	toB := b.sized(frame{src: podA4, dst: podB4, dontFragment: true}, pathMTU+1)
	toWorld := b.sized(frame{src: podA4, dst: world4, dontFragment: true}, pathMTU+1)
	b.check(t, from("from_pod", map[string]step{
		"to a pod here": {
			run: run{in: toB}, wantAction: redirect, wantCounted: both(), wantOut: hop(toB, b.b.ifc.HostMAC, b.b.ifc.MAC),
		},
		"to the world": {
			run: run{in: toWorld}, wantAction: pass, wantMark: mark(identityA), wantCounted: egressOf("forwarded"),
		},
	}))
	b.setNode(t, 0)
	b.check(t, from("from_pod", map[string]step{"no MTU is known": sent(b.sized(udp4, 3000))}))
}

// TestTooBigSumsAreRight needs root; the other tests compare with a sum of the same making, so this one adds it up.
func TestTooBigSumsAreRight(t *testing.T) {
	b := newBench(t, loader.Config{})
	for name, in := range map[string]frame{
		"IPv4": {src: podA4, dst: remotePod4, dontFragment: true, payload: make([]byte, pathMTU)},
		"IPv6": {src: podA6, dst: remotePod6, payload: make([]byte, pathMTU)},
	} {
		out := b.run(t, run{program: "from_pod", in: b.fromA(in)}).out[ethHeader:]
		var got []uint16
		if name == "IPv4" {
			got = []uint16{checksum(out[:20]), checksum(out[20:])}
		} else {
			src, dst := netip.MustParseAddr(router6), netip.MustParseAddr(podA6)
			got = []uint16{0, checksum(append(pseudo(src, dst, len(out)-40), out[40:]...))}
		}
		if diff := cmp.Diff([]uint16{0, 0}, got); diff != "" {
			t.Errorf("%s: sums (-want +got):\n%s", name, diff)
		}
	}
}

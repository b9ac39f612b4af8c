//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// Addresses of Services: announced, announced until a moment ago, and on another card.
const (
	announced4, announced6 = "192.168.9.200", "fd99::200"
	former4, former6       = "192.168.9.201", "fd99::201"
	elsewhere4, elsewhere6 = "192.168.9.202", "fd99::202"
)

// announce writes to the map what this node answers for.
func (b *bench) announce(t *testing.T) {
	t.Helper()
	card, other := b.a.ifc.HostIndex, b.b.ifc.HostIndex
	for _, a := range []struct {
		addr string
		card int
		long time.Duration
	}{
		{announced4, card, time.Hour},
		{announced6, card, time.Hour},
		{former4, card, -time.Second},
		{former6, card, -time.Second},
		{elsewhere4, other, time.Hour},
		{elsewhere6, other, time.Hour},
	} {
		_, err := b.maps.PutAnnouncement(maps.Announced{Addr: netip.MustParseAddr(a.addr), Index: a.card}, b.a.ifc.HostMAC, a.long)
		must(t, err)
	}
}

// TestAnnouncedAddressesOverARP needs root: the addresses that this node announces on a card are answered for there.
func TestAnnouncedAddressesOverARP(t *testing.T) {
	for _, native := range []bool{false, true} {
		t.Run(fmt.Sprintf("native %v", native), func(t *testing.T) {
			b := newBench(t, loader.Config{Native: native})
			b.announce(t)
			asker, card := mac{2, 9}, mac(b.a.ifc.HostMAC)
			ask := func(to mac, from, target string) frame {
				return frame{smac: asker, dmac: to, ethertype: ethARP, raw: arp(1, asker, from, mac{}, target)}
			}
			answer := func(to string) *frame {
				return &frame{smac: card, dmac: asker, ethertype: ethARP, raw: arp(2, card, announced4, asker, to)}
			}
			cut, claim := ask(broadcast(), there4, announced4), ask(broadcast(), announced4, announced4)
			cut.raw = cut.raw[:20]
			said := frame{smac: asker, dmac: card, ethertype: ethARP, raw: arp(2, asker, there4, card, announced4)}
			steps := map[string]step{}
			for name, s := range map[string]struct {
				in  frame
				out *frame
			}{
				"who has it":            {in: ask(broadcast(), there4, announced4), out: answer(there4)},
				"whether it still is":   {in: ask(card, there4, announced4), out: answer(there4)},
				"whether nobody has it": {in: ask(broadcast(), "0.0.0.0", announced4), out: answer("0.0.0.0")},
			} {
				steps[name] = step{run: run{in: s.in}, wantAction: redirect, wantOut: s.out}
			}
			for name, in := range map[string]frame{
				"another says that he has it":  claim,
				"an answer":                    said,
				"another address":              ask(broadcast(), there4, nobody4),
				"the node's own address":       ask(broadcast(), there4, here4),
				"one announced until just now": ask(broadcast(), there4, former4),
				"one announced on another":     ask(broadcast(), there4, elsewhere4),
				"a question to another":        ask(mac{2, 8}, there4, announced4),
				"cut short":                    cut,
			} {
				steps[name] = step{run: run{in: in}, wantAction: next}
			}
			b.check(t, from("from_netdev", steps))
		})
	}
}

// TestAnnouncedAddressesOverND needs root: as TestAnnouncedAddressesOverARP.
func TestAnnouncedAddressesOverND(t *testing.T) {
	for _, native := range []bool{false, true} {
		t.Run(fmt.Sprintf("native %v", native), func(t *testing.T) {
			b := newBench(t, loader.Config{Native: native})
			b.announce(t)
			asker, card, group := mac{2, 9}, mac(b.a.ifc.HostMAC), mac{0x33, 0x33, 0xff, 0, 2, 0}
			ask := func(src, target string, option byte) frame {
				return frame{
					smac: asker, dmac: group, src: src, dst: "ff02::1:ff00:200", ttl: 255, protocol: protoICMPv6,
					payload: neighborMessage(135, 0, target, option, asker),
				}
			}
			answer := func(to mac, dst string, flags byte) *frame {
				return &frame{
					smac: card, dmac: to, src: announced6, dst: dst, ttl: 255, protocol: protoICMPv6,
					payload: neighborMessage(136, flags, announced6, 2, card),
				}
			}
			probe := ask(there6, announced6, 0)
			probe.dmac, probe.dst = card, announced6
			steps := map[string]step{}
			for name, s := range map[string]struct {
				in  frame
				out *frame
			}{
				"who has it":                         {in: ask(there6, announced6, 1), out: answer(asker, there6, 0x60)},
				"who has it, from a link-local":      {in: ask("fe80::9", announced6, 1), out: answer(asker, "fe80::9", 0x60)},
				"whether it still is":                {in: probe, out: answer(asker, there6, 0x60)},
				"whether nobody has it, told to all": {in: ask("::", announced6, 0), out: answer(mac{0x33, 0x33, 0, 0, 0, 1}, "ff02::1", 0x20)},
			} {
				steps[name] = step{run: run{in: s.in}, wantAction: redirect, wantOut: s.out}
			}
			routed, extended, coded, told := ask(there6, announced6, 1), ask(there6, announced6, 1), ask(there6, announced6, 1), ask(there6, announced6, 1)
			routed.ttl = 254
			extended.extensions = []byte{protoHopOpts}
			coded.payload[1] = 1
			told.payload = neighborMessage(136, 0x60, announced6, 2, asker)
			for name, in := range map[string]frame{
				"from beyond a router":         routed,
				"behind an extension header":   extended,
				"with a code":                  coded,
				"an advertisement":             told,
				"another address":              ask(there6, nobody6, 1),
				"one announced until just now": ask(there6, former6, 1),
				"one announced on another":     ask(there6, elsewhere6, 1),
			} {
				steps[name] = step{run: run{in: in}, wantAction: next}
			}
			b.check(t, from("from_netdev", steps))
		})
	}
}

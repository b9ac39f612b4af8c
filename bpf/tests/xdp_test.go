//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
	"github.com/ciliate-io/ciliate/internal/service"
)

// What XDP programs return.
const (
	xdpPass     = 2
	xdpRedirect = 4
)

// wire is a gate where frames come in by lo and go on by eth0, at whose other end are a node and a router.
type wire struct {
	gate
	eth0          netlink.Link
	there, router mac
}

const wireRouter4, wireRouter6 = "192.168.9.254", "fd99::fe"

func newWire(t testing.TB, cfg loader.Config) *wire {
	t.Helper()
	cfg.Native = true
	w := &wire{gate: gate{bench: newBench(t, cfg)}, there: mac{2, 2}, router: mac{2, 254}}
	w.card = w.index(t, "lo")
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "eth0", deviceMTU
	must(t, w.link.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"}))
	far, err := w.link.LinkByName("far")
	must(t, err)
	must(t, w.link.LinkSetUp(far))
	w.eth0, err = w.link.LinkByName("eth0")
	must(t, err)
	must(t, w.link.LinkSetUp(w.eth0))
	for _, side := range []struct{ here, there, router, pods, world string }{
		{here4 + "/24", there4, wireRouter4, "10.0.2.0/24", "198.51.100.0/24"},
		{here6 + "/64", there6, wireRouter6, "fd00:2::/64", "2001:db8::/64"},
	} {
		prefix := netip.MustParsePrefix(side.here)
		must(t, w.link.AddrAdd(w.eth0, &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}}))
		w.awaitLocal(t, prefix.Addr())
		for addr, hw := range map[string]mac{side.there: w.there, side.router: w.router} {
			must(t, w.link.NeighSet(&netlink.Neigh{
				LinkIndex: w.eth0.Attrs().Index, IP: net.ParseIP(addr), HardwareAddr: hw[:], State: netlink.NUD_PERMANENT,
			}))
		}
		for to, via := range map[string]string{side.pods: side.there, side.world: side.router} {
			must(t, w.link.RouteAdd(&netlink.Route{
				LinkIndex: w.eth0.Attrs().Index, Dst: network(netip.MustParsePrefix(to)), Gw: net.ParseIP(via),
			}))
		}
	}
	w.allow(t, w.card, w.eth0.Attrs().Index)
	return w
}

// allow makes these the cards that forward by XDP.
func (w *wire) allow(t testing.TB, cards ...int) {
	t.Helper()
	wires := map[int]net.HardwareAddr{}
	for _, index := range cards {
		wires[index] = make(net.HardwareAddr, 6)
	}
	must(t, w.maps.SyncWires(wires))
}

// meets runs the driver's program over a frame.
func (w *wire) meets(t testing.TB, raw []byte) result {
	t.Helper()
	before := w.counts(t)
	options := ebpf.RunOptions{Data: raw, DataOut: make([]byte, 1<<12)}
	var out result
	w.do(t, func() (err error) {
		out.action, err = w.objects.Program("from_wire").Run(&options)
		return err
	})
	out.out = options.DataOut
	for k, n := range w.counts(t) {
		if n != before[k] {
			out.counted = append(out.counted, k)
		}
	}
	return out
}

// passes demands that a frame goes on to from_netdev as it came.
func (w *wire) passes(t *testing.T, what string, raw []byte) {
	t.Helper()
	got := w.meets(t, raw)
	if got.action != xdpPass || len(got.counted) != 0 {
		t.Errorf("%s: action %d, counted %v", what, got.action, got.counted)
	}
	if diff := gocmp.Diff(raw, got.out); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// leads demands that a frame goes out by eth0 so.
func (w *wire) leads(t *testing.T, what string, f, want frame, to mac) {
	t.Helper()
	got := w.meets(t, f.bytes())
	want.smac, want.dmac, want.ttl = mac(w.eth0.Attrs().HardwareAddr), to, f.ttl-1
	if f.ttl == 0 {
		want.ttl = 63
	}
	if got.action != xdpRedirect || fmt.Sprint(got.counted) != fmt.Sprint(ingressOf("accelerated")) {
		t.Errorf("%s: action %d, counted %v", what, got.action, got.counted)
	}
	if diff := gocmp.Diff(want.bytes(), got.out); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// afar are the ends of a conversation of the world with a pod of another node.
type afar struct{ node, router, world, pod string }

func bothAfar() map[string]afar {
	return map[string]afar{
		"IPv4": {here4, router4, world4, remotePod4}, "IPv6": {here6, router6, world6, remotePod6},
	}
}

// ask publishes a Service of the world, and returns a question to it.
func (w *wire) ask(t testing.TB, s afar, protocol byte, backends ...string) frame {
	t.Helper()
	w.publish(t, s.node, service.OfWorld, service.Entry{}, backends...)
	return frame{src: s.world, dst: s.node, protocol: protocol, sport: 40000, dport: nodePort, summed: true, payload: []byte("question")}
}

// translated is what a question becomes under this port of the node, and its answer before and after.
func (s afar) translated(asked frame, port uint16) (led, answer, said frame) {
	led = asked
	led.src, led.sport, led.dst, led.dport = s.router, port, s.pod, backendPort
	answer = frame{
		src: s.pod, dst: s.router, protocol: asked.protocol, sport: backendPort, dport: port, summed: true, payload: []byte("an answer"),
	}
	said = answer
	said.src, said.sport, said.dst, said.dport = s.node, nodePort, s.world, asked.sport
	return led, answer, said
}

// TestWire needs root: from_wire and from_netdev each open connections, and each go on with the other's.
func TestWire(t *testing.T) {
	for family, s := range bothAfar() {
		for name, protocol := range map[string]byte{"TCP": protoTCP, "UDP": protoUDP} {
			for opener, byXDP := range map[string]bool{"opened by XDP": true, "opened by tc": false} {
				t.Run(family+" "+name+" "+opener, func(t *testing.T) {
					w := newWire(t, loader.Config{})
					asked := w.ask(t, s, protocol, s.pod)
					var first result
					if byXDP {
						first = w.meets(t, asked.bytes())
					} else {
						first = w.in(t, asked)
					}
					port := portOf(first.out)
					if port < natFirst || port > natLast {
						t.Fatalf("action %d, port %d, counted %v", first.action, port, first.counted)
					}
					led, answer, said := s.translated(asked, port)
					w.leads(t, "a question", asked, led, w.there)
					w.leads(t, "its answer", answer, said, w.router)
					byTC := led
					byTC.ttl = 63
					if got := w.in(t, asked); got.action != redirect || gocmp.Diff(byTC.bytes(), got.out) != "" {
						t.Errorf("by tc: action %d (-want +got):\n%s", int32(got.action), gocmp.Diff(byTC.bytes(), got.out))
					}
					asked.ttl = 2
					w.leads(t, "a question before its last hop", asked, led, w.there)
				})
			}
		}
	}
}

// TestWireKeepsToOneBackend needs root: a second connection gets a port of its own, the first one keeps its backend.
func TestWireKeepsToOneBackend(t *testing.T) {
	for family, s := range bothAfar() {
		t.Run(family, func(t *testing.T) {
			w := newWire(t, loader.Config{})
			asked := w.ask(t, s, protoTCP, s.pod)
			led, _, _ := s.translated(asked, portOf(w.meets(t, asked.bytes()).out))
			other := asked
			other.sport = 40001
			if port := portOf(w.meets(t, other.bytes()).out); port == led.sport || port < natFirst || port > natLast {
				t.Errorf("the second connection got port %d beside %d", port, led.sport)
			}
			w.publish(t, s.node, service.OfWorld, service.Entry{})
			w.leads(t, "a connection that goes on", asked, led, w.there)
		})
	}
}

// TestWireLeavesSumsOut needs root: UDP over IPv4 may have none, and gets none.
func TestWireLeavesSumsOut(t *testing.T) {
	s, w := bothAfar()["IPv4"], newWire(t, loader.Config{})
	asked := w.ask(t, s, protoUDP, s.pod)
	asked.summed = false
	led, answer, said := s.translated(asked, portOf(w.meets(t, asked.bytes()).out))
	answer.summed, said.summed = false, false
	w.leads(t, "a question", asked, led, w.there)
	w.leads(t, "its answer", answer, said, w.router)
}

// TestWirePasses needs root: what is not plain is from_netdev's, as it came and without a trace.
func TestWirePasses(t *testing.T) {
	for family, s := range bothAfar() {
		v6, w := family == "IPv6", newWire(t, loader.Config{})
		publish := func(e service.Entry, backends ...string) func(t *testing.T) {
			return func(t *testing.T) { w.publish(t, s.node, service.OfWorld, e, backends...) }
		}
		for name, c := range map[string]struct {
			// change and spoil make the question another, world what is around it.
			change func(f *frame)
			spoil  func(raw []byte) []byte
			world  func(t *testing.T)
		}{
			"another port":          {change: func(f *frame) { f.dport++ }},
			"another address":       {change: func(f *frame) { f.dst = s.pod }},
			"another MAC":           {change: func(f *frame) { f.dmac = mac{2, 9} }},
			"ARP":                   {change: func(f *frame) { *f = frame{ethertype: ethARP, raw: arp(1, mac{2}, there4, mac{}, here4)} }},
			"a VLAN's":              {spoil: tagged},
			"a last hop":            {change: func(f *frame) { f.ttl = 1 }},
			"a first fragment":      {change: func(f *frame) { f.fragment, f.summed = fragment{id: 7, more: true}, false }},
			"a later fragment":      {change: func(f *frame) { f.fragment, f.summed = fragment{id: 7, offset: 8}, false }},
			"SCTP":                  {change: func(f *frame) { f.protocol, f.payload = 132, make([]byte, 20) }},
			"an echo request":       {change: func(f *frame) { f.protocol, f.payload = icmpOf(v6), echoRequest(v6, 8) }},
			"a packet cut short":    {spoil: func(raw []byte) []byte { return raw[:len(raw)-1] }},
			"a header cut short":    {spoil: func(raw []byte) []byte { return raw[:len(raw)-len("question")-1] }},
			"no sum made yet":       {spoil: func(raw []byte) []byte { return unsummed(raw, v6) }},
			"a backend here":        {world: publish(service.Entry{}, bothSides()[family].podA)},
			"no backend":            {world: publish(service.Entry{})},
			"no backend here":       {world: publish(service.Entry{Local: true})},
			"a client not meant":    {world: publish(service.Entry{Guarded: true}, s.pod)},
			"a card without XDP":    {world: func(t *testing.T) { w.allow(t, w.eth0.Attrs().Index) }},
			"a way out without XDP": {world: func(t *testing.T) { w.allow(t, w.card) }},
		} {
			t.Run(family+" "+name, func(t *testing.T) {
				asked := w.ask(t, s, protoTCP, s.pod)
				w.allow(t, w.card, w.eth0.Attrs().Index)
				if c.world != nil {
					c.world(t)
				}
				if c.change != nil {
					c.change(&asked)
				}
				raw := asked.bytes()
				if c.spoil != nil {
					raw = c.spoil(raw)
				}
				w.passes(t, "a first packet", raw)
				if n := len(w.connections(t, "conntrack_tcp")); n != 0 {
					t.Errorf("%d entries of connections", n)
				}
			})
		}
	}
}

// TestWirePassesWithoutAWay needs root: the kernel is to look for it, or to say that there is none.
func TestWirePassesWithoutAWay(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, w *wire){
		"no route":            func(t *testing.T, w *wire) { must(t, w.link.LinkSetDown(w.eth0)) },
		"a card of small MTU": func(t *testing.T, w *wire) { must(t, w.link.LinkSetMTU(w.eth0, 1280)) },
		"a neighbour that is unknown": func(t *testing.T, w *wire) {
			for _, there := range []string{there4, there6} {
				must(t, w.link.NeighDel(&netlink.Neigh{LinkIndex: w.eth0.Attrs().Index, IP: net.ParseIP(there)}))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, loader.Config{})
			for family, s := range bothAfar() {
				asked := w.ask(t, s, protoTCP, s.pod)
				asked.payload = make([]byte, 1300)
				led, _, _ := s.translated(asked, portOf(w.meets(t, asked.bytes()).out))
				w.leads(t, "a question in "+family, asked, led, w.there)
			}
			lose(t, w)
			for family, s := range bothAfar() {
				asked := w.ask(t, s, protoTCP, s.pod)
				asked.payload = make([]byte, 1300)
				w.passes(t, "a packet of a connection in "+family, asked.bytes())
				asked.sport++
				w.passes(t, "a first packet in "+family, asked.bytes())
			}
		})
	}
}

// TestWirePassesOptions needs root: headers that are longer than usual.
func TestWirePassesOptions(t *testing.T) {
	w := newWire(t, loader.Config{})
	six := bothAfar()["IPv6"]
	extended := w.ask(t, six, protoTCP, six.pod)
	extended.extensions = []byte{protoDstOpts}
	w.passes(t, "an extension header", extended.bytes())
	four := bothAfar()["IPv4"]
	asked := w.ask(t, four, protoTCP, four.pod)
	raw := asked.bytes()
	const version4And24Bytes = 0x46
	raw[ethHeader] = version4And24Bytes
	w.passes(t, "an option", raw)
}

// TestWirePassesPodsPackets needs root: what ends at a pod of the node is not for the wire, known or not.
func TestWirePassesPodsPackets(t *testing.T) {
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			w := newWire(t, loader.Config{})
			w.setCard(t, maps.Card{Masquerades: true}, here4, here6)
			there := frame{src: s.podA, dst: s.world, protocol: protoTCP, sport: natFirst, dport: 53, summed: true}
			if got := w.out(t, there); got.action != next {
				t.Fatalf("action %d, counted %v", int32(got.action), got.counted)
			}
			back := frame{src: s.world, dst: s.node, protocol: protoTCP, sport: 53, dport: natFirst, summed: true}
			w.passes(t, "an answer to a pod", back.bytes())
			back.dst, back.dport = s.podA, 80
			w.passes(t, "a question to a pod", back.bytes())
		})
	}
}

// TestWirePassesDirectReturn needs root: what a backend answers past this node is tc's from the first packet on.
func TestWirePassesDirectReturn(t *testing.T) {
	for family, s := range bothAfar() {
		t.Run(family, func(t *testing.T) {
			w := newWire(t, loader.Config{DirectReturn: true})
			asked := w.ask(t, s, protoTCP, s.pod)
			w.passes(t, "a first packet", asked.bytes())
			if got := w.in(t, asked); got.action != redirect {
				t.Fatalf("from_netdev: action %d, counted %v", int32(got.action), got.counted)
			}
			w.passes(t, "the next packet", asked.bytes())
		})
	}
}

// BenchmarkWire needs root: a packet of a connection from card to card, by XDP and by tc. The kernel repeats a packet as the
// last run left it, so the two ends of this connection become each other. Making and freeing the kernel's packet, which tc
// takes as well, is not in it.
func BenchmarkWire(b *testing.B) {
	const one, other = 40000, natFirst
	for family, ends := range map[string][2]frame{
		"ipv4": {{src: world4, dst: remoteNew4, sport: one}, {src: router4, dst: remotePod4, sport: other}},
		"ipv6": {{src: world6, dst: remoteNew6, sport: one}, {src: router6, dst: remotePod6, sport: other}},
	} {
		for _, c := range []struct {
			program string
			action  uint32
			dmac    func(w *wire) mac
		}{
			{"from_wire", xdpRedirect, func(w *wire) mac { return w.there }},
			{"from_netdev", redirect, func(*wire) mac { return mac{} }},
		} {
			b.Run(c.program+"/"+family+"/to another node", func(b *testing.B) {
				w := newWire(b, loader.Config{})
				wires := map[int]net.HardwareAddr{w.card: w.there[:], w.eth0.Attrs().Index: make(net.HardwareAddr, 6)}
				must(b, w.maps.SyncWires(wires))
				w.pair(b, ends[0], ends[1])
				w.pair(b, ends[1], ends[0])
				in := ends[0]
				in.protocol, in.dport, in.ttl, in.summed, in.dmac = protoTCP, backendPort, 255, true, c.dmac(w)
				if got := measure(b, w.node, w.objects.Program(c.program), in); got != c.action {
					b.Errorf("the last action is %d, want %d", got, c.action)
				}
			})
		}
	}
}

// pair has one end of a connection become the other, in both directions.
func (w *wire) pair(t testing.TB, from, to frame) {
	t.Helper()
	there, back := tupleOf(from), tupleOf(to)
	put := func(k, becomes bpfgen.Tuple) {
		must(t, w.objects.Map("conntrack_tcp").Put(k, bpfgen.Connection{Becomes: becomes, Expires: math.MaxInt64, Seen: 9}))
	}
	put(there, back)
	put(reversed(back), reversed(there))
}

// tupleOf is a frame of TCP to backendPort as the tables know it.
func tupleOf(f frame) (t bpfgen.Tuple) {
	t.Saddr.B, t.Daddr.B = netip.MustParseAddr(f.src).As16(), netip.MustParseAddr(f.dst).As16()
	t.Sport, t.Dport, t.Protocol, t.Kind = bits.ReverseBytes16(f.sport), bits.ReverseBytes16(backendPort), protoTCP, 1
	return t
}

func reversed(t bpfgen.Tuple) bpfgen.Tuple {
	t.Saddr, t.Daddr, t.Sport, t.Dport = t.Daddr, t.Saddr, t.Dport, t.Sport
	return t
}

func icmpOf(v6 bool) byte {
	if v6 {
		return protoICMPv6
	}
	return protoICMP
}

// tagged puts a frame into a VLAN.
func tagged(raw []byte) []byte {
	macs := slices.Clone(raw[:ethHeader-2])
	return append(binary.BigEndian.AppendUint32(macs, ethVLAN<<16|7), raw[ethHeader-2:]...)
}

// unsummed is a segment whose sum is left to the card: that of the pseudo header stands in its place.
func unsummed(raw []byte, v6 bool) []byte {
	const sumOfTCP = 16
	header, addrs := ipv4Header, 12
	if v6 {
		header, addrs = ipv6Header, 8
	}
	ip := raw[ethHeader:]
	size := (header - addrs) / 2
	src, _ := netip.AddrFromSlice(ip[addrs : addrs+size])
	dst, _ := netip.AddrFromSlice(ip[addrs+size : header])
	binary.BigEndian.PutUint16(ip[header+sumOfTCP:], ^checksum(pseudoOf(protoTCP, src, dst, len(ip)-header)))
	return raw
}

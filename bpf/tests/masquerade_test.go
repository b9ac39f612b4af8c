//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// sides are the two families' ends of a conversation with the world.
type sides struct{ podA, podB, node, world, there string }

func bothSides() map[string]sides {
	return map[string]sides{
		"IPv4": {podA4, podB4, here4, world4, there4}, "IPv6": {podA6, podB6, here6, world6, there6},
	}
}

// gate is a bench whose card is lo.
type gate struct {
	*bench
	card int
}

func newGate(t *testing.T, cfg loader.Config) gate {
	t.Helper()
	g := gate{bench: newBench(t, cfg)}
	g.card = g.index(t, "lo")
	g.setCard(t, maps.Card{Masquerades: true}, here4, here6)
	return g
}

// setCard says what the card does, and which addresses it has.
func (g gate) setCard(t *testing.T, c maps.Card, addrs ...string) {
	t.Helper()
	c.Index = g.card
	for _, a := range addrs {
		c.Addrs = append(c.Addrs, netip.MustParseAddr(a))
	}
	must(t, g.maps.SyncCards([]maps.Card{c}))
}

// out sends a pod's packet by the card, as the host's stack hands it on.
func (g gate) out(t *testing.T, f frame) result {
	t.Helper()
	return g.run(t, run{program: "to_netdev", in: f, mark: mark(identityA), device: g.card})
}

func (g gate) in(t *testing.T, f frame) result {
	t.Helper()
	return g.run(t, run{program: "from_netdev", in: f, device: g.card})
}

// leaves demands that a pod's packet leaves so.
func (g gate) leaves(t *testing.T, what string, f, want frame) {
	t.Helper()
	g.became(t, what, g.out(t, f), want)
}

// comes demands that a packet from outside goes to the stack so.
func (g gate) comes(t *testing.T, what string, f, want frame) {
	t.Helper()
	g.became(t, what, g.in(t, f), want)
}

func (g gate) became(t *testing.T, what string, got result, want frame) {
	t.Helper()
	if got.action != next || got.mark != 0 {
		t.Errorf("%s: action %d, mark %#x", what, int32(got.action), got.mark)
	}
	if diff := gocmp.Diff(want.bytes(), got.out); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// refused demands a drop.
func (g gate) refused(t *testing.T, what string, got result, reason string) {
	t.Helper()
	if got.action != drop || fmt.Sprint(got.counted) != fmt.Sprint(egressOf(reason)) {
		t.Errorf("%s: action %d, counted %v, want %s", what, int32(got.action), got.counted, reason)
	}
}

// portOf is the source port of a frame, or the id of an echo.
func portOf(raw []byte) uint16 {
	at := ethHeader + ipv4Header
	protocol := raw[ethHeader+9]
	if raw[ethHeader]>>4 == 6 {
		at, protocol = ethHeader+ipv6Header, raw[ethHeader+6]
	}
	if protocol == protoICMP || protocol == protoICMPv6 {
		at += 4
	}
	return binary.BigEndian.Uint16(raw[at:])
}

// TestMasquerade needs root: there and back, with sums that are right, for TCP and UDP.
func TestMasquerade(t *testing.T) {
	for family, s := range bothSides() {
		for name, protocol := range map[string]byte{"TCP": protoTCP, "UDP": protoUDP} {
			t.Run(family+" "+name, func(t *testing.T) {
				g := newGate(t, loader.Config{})
				there := frame{src: s.podA, dst: s.world, protocol: protocol, sport: natFirst, dport: 53, summed: true, payload: []byte("question")}
				sent := there
				sent.src = s.node
				g.leaves(t, "a port that is free", there, sent)
				back := frame{src: s.world, dst: s.node, protocol: protocol, sport: 53, dport: natFirst, summed: true, payload: []byte("answer..")}
				got := back
				got.dst = s.podA
				g.comes(t, "the answer", back, got)
				g.leaves(t, "the next packet", there, sent)

				other := there
				other.src, sent.src = s.podB, s.node
				raw := g.out(t, other)
				sent.sport = portOf(raw.out)
				if sent.sport == natFirst || sent.sport > natLast {
					t.Errorf("the second pod with the port got %d", sent.sport)
				}
				g.became(t, "the second pod", raw, sent)
				back.dport, got.dst = sent.sport, s.podB
				g.comes(t, "its answer", back, got)

				there.sport = 40000
				raw = g.out(t, there)
				if port := portOf(raw.out); port < natFirst || port > natLast {
					t.Errorf("a port of the kernel's became %d", port)
				}
				stranger := back
				stranger.sport = 54
				g.comes(t, "another port of the peer", stranger, stranger)
				stranger = back
				stranger.dport = 40000
				g.comes(t, "a port of the node's", stranger, stranger)
			})
		}
	}
}

// TestMasqueradeKeepsClearOfSockets needs root: what the node listens on stands for no pod.
func TestMasqueradeKeepsClearOfSockets(t *testing.T) {
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			g.do(t, func() error {
				tcp, err := net.Listen("tcp", fmt.Sprint(":", natFirst))
				if err != nil {
					return err
				}
				t.Cleanup(func() { tcp.Close() })
				udp, err := net.ListenPacket("udp", fmt.Sprint(":", natFirst))
				if err != nil {
					return err
				}
				t.Cleanup(func() { udp.Close() })
				return nil
			})
			for _, protocol := range []byte{protoTCP, protoUDP} {
				got := g.out(t, frame{src: s.podA, dst: s.world, protocol: protocol, sport: natFirst, dport: 53, summed: true})
				if port := portOf(got.out); port == natFirst || port > natLast || got.action != next {
					t.Errorf("protocol %d: port %d, action %d", protocol, port, int32(got.action))
				}
			}
		})
	}
}

// TestMasqueradeFindsNoPort needs root: a full range is said to be full.
func TestMasqueradeFindsNoPort(t *testing.T) {
	g := newGate(t, loader.Config{})
	const tooMany = 2 * (natLast - natFirst)
	refused := 0
	for i := range tooMany {
		got := g.out(t, frame{src: podA4, dst: world4, sport: uint16(40000 + i), dport: 53})
		if got.action == drop {
			g.refused(t, "one too many", got, "NAT_NO_MAPPING")
			refused++
		}
	}
	if most := tooMany - (natLast - natFirst + 1); refused < most {
		t.Errorf("%d of %d were refused, with room for %d", refused, tooMany, tooMany-most)
	}
	g.leaves(t, "to another peer", frame{src: podA4, dst: "198.51.100.8", sport: natFirst, dport: 53},
		frame{src: here4, dst: "198.51.100.8", sport: natFirst, dport: 53})
}

// TestWhoIsMasqueraded needs root.
func TestWhoIsMasqueraded(t *testing.T) {
	for family, s := range bothSides() {
		remote, fresh := remotePod4, remoteNew4
		if family == "IPv6" {
			remote, fresh = remotePod6, remoteNew6
		}
		for name, c := range map[string]struct {
			config  loader.Config
			dst     string
			becomes string
		}{
			"the world":                     {dst: s.world, becomes: s.node},
			"another node, with a tunnel":   {dst: s.there, becomes: s.node},
			"another node, without":         {config: loader.Config{Native: true}, dst: s.there, becomes: s.podA},
			"a pod":                         {config: loader.Config{Native: true}, dst: remote, becomes: s.podA},
			"a pod that nobody knows":       {config: loader.Config{Native: true}, dst: fresh, becomes: s.podA},
			"the world, beside kube-proxy":  {config: loader.Config{StackForwarding: true}, dst: s.world, becomes: s.node},
			"the world, with native routes": {config: loader.Config{Native: true}, dst: s.world, becomes: s.node},
		} {
			t.Run(family+" "+name, func(t *testing.T) {
				g := newGate(t, c.config)
				f := frame{src: s.podA, dst: c.dst, sport: natFirst, dport: 53, summed: true}
				want := f
				want.src = c.becomes
				g.leaves(t, "with a mark of ours", f, want)
				g.became(t, "with a mark of others", g.run(t, run{program: "to_netdev", in: f, mark: mark(identityA), device: g.card}), want)
				if got := g.run(t, run{program: "to_netdev", in: f, mark: 0x4000, device: g.card}); gocmp.Diff(want.bytes(), got.out) != "" {
					t.Errorf("with another's mark: %x", got.out)
				}
				must(t, g.maps.SyncCards(nil))
				f.sport, want = natFirst+1, f
				want.sport = f.sport
				g.leaves(t, "masquerade is off", f, want)
			})
		}
	}
	g := newGate(t, loader.Config{})
	own := frame{src: here4, dst: world4, sport: 40000, dport: 53}
	g.leaves(t, "the node's own", own, own)
	g.refused(t, "a pod that is gone", g.out(t, frame{src: nobody4, dst: world4}), "ENDPOINT_NOT_READY")
	g.setCard(t, maps.Card{Masquerades: true}, here4)
	g.refused(t, "a card without an address", g.out(t, frame{src: podA6, dst: world6}), "NAT_NO_MAPPING")
}

// echoFrame is a ping with an id.
func echoFrame(src, dst string, id uint16, reply bool) frame {
	v6 := netip.MustParseAddr(src).Is6()
	f := frame{src: src, dst: dst, protocol: protoICMP, payload: echoRequest(v6, 16)}
	if v6 {
		f.protocol = protoICMPv6
	}
	if reply {
		f.payload[0] = 0
		if v6 {
			f.payload[0] = 129
		}
	}
	binary.BigEndian.PutUint16(f.payload[4:], id)
	return f
}

// TestAnswersKeepThePodsAddress needs root: to who asked a pod by its own address, and to nobody else.
func TestAnswersKeepThePodsAddress(t *testing.T) {
	for family, s := range bothSides() {
		for mode, cfg := range map[string]loader.Config{"tunnel": {}, "native": {Native: true}, "stack": {StackForwarding: true}} {
			for name, protocol := range map[string]byte{"TCP": protoTCP, "UDP": protoUDP} {
				t.Run(family+" "+mode+" "+name, func(t *testing.T) {
					g := newGate(t, cfg)
					question := frame{src: s.world, dst: s.podA, protocol: protocol, sport: 41000, dport: 80, summed: true, payload: []byte("question")}
					answer := frame{src: s.podA, dst: s.world, protocol: protocol, sport: 80, dport: 41000, summed: true, payload: []byte("answer..")}
					for range 2 {
						g.comes(t, "a question", question, question)
						g.leaves(t, "the answer", answer, answer)
					}
					own := answer
					own.sport, own.dport = natFirst, 41001
					sent := own
					sent.src = s.node
					g.leaves(t, "a question of the pod's own", own, sent)
				})
			}
			t.Run(family+" "+mode+" echo", func(t *testing.T) {
				g := newGate(t, cfg)
				question, answer := echoFrame(s.world, s.podA, 7, false), echoFrame(s.podA, s.world, 7, true)
				g.comes(t, "a ping", question, question)
				g.leaves(t, "the reply", answer, answer)
			})
		}
	}
}

// TestAnswersToNodesKeepThePodsAddress needs root: a process of another node asks under the address of its card, and is
// answered by a card.
func TestAnswersToNodesKeepThePodsAddress(t *testing.T) {
	g := newGate(t, loader.Config{})
	question := frame{src: there4, dst: podA4, protocol: protoTCP, sport: 41000, dport: 80, summed: true}
	answer := frame{src: podA4, dst: there4, protocol: protoTCP, sport: 80, dport: 41000, summed: true}
	if got := g.run(t, run{tunnel: tunnel{there4, 1}, in: question}); got.action != redirect {
		t.Errorf("the question: action %d, counted %v", int32(got.action), got.counted)
	}
	g.leaves(t, "the answer", answer, answer)
	answer.dport, answer.sport = 41001, natFirst
	sent := answer
	sent.src = here4
	g.leaves(t, "a question of the pod's own", answer, sent)
}

// TestMasqueradeOfEchoes needs root: ids stand for one another as ports do, the node's own included.
func TestMasqueradeOfEchoes(t *testing.T) {
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			g.leaves(t, "a ping", echoFrame(s.podA, s.world, 7, false), echoFrame(s.node, s.world, 7, false))
			g.comes(t, "its reply", echoFrame(s.world, s.node, 7, true), echoFrame(s.world, s.podA, 7, true))
			g.comes(t, "the reply to another", echoFrame(s.world, s.node, 8, true), echoFrame(s.world, s.node, 8, true))
			g.comes(t, "a ping of the node", echoFrame(s.world, s.node, 7, false), echoFrame(s.world, s.node, 7, false))

			own := g.run(t, run{program: "to_netdev", in: echoFrame(s.node, s.world, 7, false), device: g.card})
			id := portOf(own.out)
			if id == 7 {
				t.Error("the node's ping has the id of the pod's")
			}
			g.became(t, "the node's ping", own, echoFrame(s.node, s.world, id, false))
			g.comes(t, "the node's reply", echoFrame(s.world, s.node, id, true), echoFrame(s.world, s.node, 7, true))

			for _, id := range []uint16{9, 0} { // 0 is an id like any other
				own = g.run(t, run{program: "to_netdev", in: echoFrame(s.node, s.world, id, false), device: g.card})
				g.became(t, "the node's ping with a free id", own, echoFrame(s.node, s.world, id, false))
				if portOf(g.out(t, echoFrame(s.podA, s.world, id, false)).out) == id {
					t.Errorf("the pod's ping has the id %d of the node's", id)
				}
			}
		})
	}
}

// about is an ICMP error about a packet.
func about(src, dst string, packet frame) frame { return aboutRaw(src, dst, packet.bytes()) }

func aboutRaw(src, dst string, packet []byte) frame {
	f := frame{src: src, dst: dst, protocol: protoICMP}
	head := []byte{3, 4, 0, 0, 0, 0, 5, 20}
	if netip.MustParseAddr(src).Is6() {
		f.protocol, head = protoICMPv6, []byte{2, 0, 0, 0, 0, 0, 5, 20}
	}
	f.payload = append(head, packet[ethHeader:]...)
	return f
}

// TestErrorsAreTranslated needs root: what a router says of a pod's packet reaches the pod as if it were of its own, and
// what a pod says of a packet from outside leaves under the node's address.
func TestErrorsAreTranslated(t *testing.T) {
	router := map[string]string{"IPv4": "203.0.113.1", "IPv6": "2001:db8:1::1"}
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			there := frame{src: s.podA, dst: s.world, sport: natFirst, dport: 53, payload: make([]byte, 16)}
			sent := there
			sent.src = s.node
			g.leaves(t, "the packet", there, sent)
			g.comes(t, "a router's error", about(router[family], s.node, sent), about(router[family], s.podA, there))
			g.comes(t, "the peer's error", about(s.world, s.node, sent), about(s.world, s.podA, there))

			back := frame{src: s.world, dst: s.node, sport: 53, dport: natFirst, payload: make([]byte, 16)}
			got := back
			got.dst = s.podA
			g.leaves(t, "the pod's error", about(s.podA, s.world, got), about(s.node, s.world, back))

			foreign := sent
			foreign.dport = 54
			g.comes(t, "an error about the node's own", about(router[family], s.node, foreign), about(router[family], s.node, foreign))
			got.sport = 54
			g.refused(t, "an error about nothing", g.out(t, about(s.podA, s.world, got)), "NAT_NO_MAPPING")

			ping, pinged := echoFrame(s.podA, s.world, natFirst, false), echoFrame(s.node, s.world, natFirst, false)
			g.leaves(t, "a ping", ping, pinged)
			// The quoted message keeps its own sum, at which nobody looks.
			quoted, at := ping.bytes(), ethHeader+ipv4Header+2
			if family == "IPv6" {
				at = ethHeader + ipv6Header + 2
			}
			copy(quoted[at:at+2], pinged.bytes()[at:])
			g.comes(t, "a router's error about it", about(router[family], s.node, pinged), aboutRaw(router[family], s.podA, quoted))
		})
	}
}

// TestFragmentsAreTranslated needs root: later ones follow the first.
func TestFragmentsAreTranslated(t *testing.T) {
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			piece := func(src, dst string, sport, dport uint16, offset int) frame {
				f := frame{src: src, dst: dst, sport: sport, dport: dport, payload: make([]byte, 64)}
				f.fragment = fragment{id: 3, offset: offset, more: offset == 0}
				return f
			}
			for _, offset := range []int{0, 72} {
				g.leaves(t, fmt.Sprint("out, at ", offset), piece(s.podA, s.world, natFirst, 53, offset), piece(s.node, s.world, natFirst, 53, offset))
			}
			early := piece(s.world, s.node, 53, natFirst, 72)
			g.comes(t, "in, before the first", early, early)
			for _, offset := range []int{0, 72} {
				g.comes(t, fmt.Sprint("in, at ", offset), piece(s.world, s.node, 53, natFirst, offset), piece(s.world, s.podA, 53, natFirst, offset))
			}
			foreign := piece(s.world, s.node, 54, natFirst, 0)
			foreign.fragment.id = 4
			g.comes(t, "in, of the node's own", foreign, foreign)
		})
	}
}

// TestConnectionsOfAPodThatIsGone needs root: the next one with its address inherits nothing.
func TestConnectionsOfAPodThatIsGone(t *testing.T) {
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			there := frame{src: s.podA, dst: s.world, sport: natFirst, dport: 53}
			sent := there
			sent.src = s.node
			back := frame{src: s.world, dst: s.node, sport: 53, dport: natFirst}
			g.leaves(t, "the old pod", there, sent)
			must(t, g.maps.DeleteEndpoint(g.a.ifc.HostIndex, nil))
			g.comes(t, "an answer to nobody", back, back)
			next := g.a.endpoint
			next.UID = "another"
			must(t, g.maps.PutEndpoint(next, g.a.ifc))
			g.comes(t, "an answer to the old pod", back, back)
			g.leaves(t, "the new pod", there, sent)
			got := back
			got.dst = s.podA
			g.comes(t, "an answer to the new pod", back, got)
		})
	}
}

// connections reads a table.
func (g gate) connections(t *testing.T, name string) map[bpfgen.Tuple]bpfgen.Connection {
	t.Helper()
	out := map[bpfgen.Tuple]bpfgen.Connection{}
	var k bpfgen.Tuple
	var c bpfgen.Connection
	for i := g.objects.Map(name).Iterate(); i.Next(&k, &c); {
		out[k] = c
	}
	return out
}

// TestEitherHalfMakesTheOther needs root: an evicted entry comes back, whichever it was.
func TestEitherHalfMakesTheOther(t *testing.T) {
	for family, s := range bothSides() {
		t.Run(family, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			there := frame{src: s.podA, dst: s.world, sport: 40000, dport: 53}
			first := g.out(t, there)
			sent := there
			sent.src, sent.sport = s.node, portOf(first.out)
			back := frame{src: s.world, dst: s.node, sport: 53, dport: sent.sport}
			got := back
			got.dst, got.dport = s.podA, 40000
			for evicted := range g.connections(t, "conntrack_other") {
				must(t, g.objects.Map("conntrack_other").Delete(evicted))
				// The half that is left is used first, as a conversation would.
				if evicted.Sport == 0x3500 { // 53 in network byte order
					g.leaves(t, "without the way back", there, sent)
					g.comes(t, "the way back again", back, got)
				} else {
					g.comes(t, "without the way there", back, got)
					g.leaves(t, "the way there again", there, sent)
				}
			}
			if n := len(g.connections(t, "conntrack_other")); n != 2 {
				t.Errorf("%d entries, want two", n)
			}
		})
	}
}

// TestSweep needs root: what is over goes, and what is alive stays.
func TestSweep(t *testing.T) {
	g := newGate(t, loader.Config{})
	g.out(t, frame{src: podA4, dst: world4, sport: natFirst, dport: 53})
	g.out(t, frame{src: podB4, dst: world4, sport: natFirst + 1, dport: 53})
	g.out(t, frame{src: podA6, dst: world6, protocol: protoTCP, sport: natFirst, dport: 53, flags: 2})
	wantSwept(t, g, 0)
	for k, c := range g.connections(t, "conntrack_tcp") {
		c.Expires = 1
		must(t, g.objects.Map("conntrack_tcp").Put(k, c))
	}
	wantSwept(t, g, 2)
	must(t, g.maps.DeleteEndpoint(g.b.ifc.HostIndex, nil))
	wantSwept(t, g, 2)
	if n := len(g.connections(t, "conntrack_other")); n != 2 {
		t.Errorf("%d entries are left, want the two of the pod that lives", n)
	}
}

func wantSwept(t *testing.T, g gate, want int) {
	t.Helper()
	got, err := g.objects.SweepConnections()
	must(t, err)
	if got != want {
		t.Errorf("%d were thrown out, want %d", got, want)
	}
}

// TestLifetimes needs root: how long a connection lasts follows from what was seen of both directions.
func TestLifetimes(t *testing.T) {
	const fin, syn, rst, ack = 1, 2, 4, 16
	type seen struct {
		fromWorld bool
		flags     byte
	}
	for name, c := range map[string]struct {
		packets []seen
		want    uint64
	}{
		"opening":          {packets: []seen{{false, syn}}, want: 60},
		"not answered yet": {packets: []seen{{false, syn}, {false, syn}}, want: 60},
		"established":      {packets: []seen{{false, syn}, {true, syn | ack}, {false, ack}}, want: 8000},
		"half closed":      {packets: []seen{{false, syn}, {true, syn | ack}, {false, ack}, {true, fin | ack}}, want: 8000},
		"closed":           {packets: []seen{{false, syn}, {true, syn | ack}, {false, fin | ack}, {true, fin | ack}}, want: 10},
		"reset":            {packets: []seen{{false, syn}, {true, syn | ack}, {false, ack}, {true, rst}}, want: 10},
		"opened again":     {packets: []seen{{false, syn}, {true, rst | ack}, {false, syn}}, want: 60},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, loader.Config{})
			for _, p := range c.packets {
				if p.fromWorld {
					g.in(t, frame{src: world4, dst: here4, protocol: protoTCP, sport: 53, dport: natFirst, flags: p.flags})
				} else {
					g.out(t, frame{src: podA4, dst: world4, protocol: protoTCP, sport: natFirst, dport: 53, flags: p.flags})
				}
			}
			for k, got := range g.connections(t, "conntrack_tcp") {
				if left := (got.Expires - now(t)) / 1e9; left < c.want-5 || left > c.want {
					t.Errorf("%v: %d s, want %d", k, left, c.want)
				}
			}
		})
	}
}

// TestTunnelPacketsPass needs root: a card does nothing with them.
func TestTunnelPacketsPass(t *testing.T) {
	g := newGate(t, loader.Config{})
	for _, f := range []frame{
		{src: there4, dst: here4, sport: 40000, dport: tunnelPort, payload: make([]byte, 60)},
		{src: there6, dst: here6, sport: 40000, dport: tunnelPort, payload: make([]byte, 60)},
	} {
		g.comes(t, "a tunnel packet", f, f)
		f.src, f.dst = f.dst, f.src
		got := g.run(t, run{program: "to_netdev", in: f, device: g.card})
		g.became(t, "a tunnel packet that leaves", got, f)
	}
}

// now is the programs' clock.
func now(t *testing.T) uint64 {
	t.Helper()
	var at unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &at))
	return uint64(at.Nano())
}

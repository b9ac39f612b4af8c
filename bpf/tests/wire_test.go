//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// marker tells our packets from others.
const marker = "ciliate was here"

func marked(frame []byte) bool { return bytes.Contains(frame, []byte(marker)) }

// say sends one datagram with the marker.
func (n *namespace) say(t testing.TB, to netip.Addr) {
	t.Helper()
	n.do(t, func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(to, 4000).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(marker))
		return err
	})
}

// envelope is what stands around a packet on the wire.
type envelope struct {
	From, To string
	VNI      uint32
}

// open reads the outer headers of a VXLAN frame.
func open(frame []byte) envelope {
	const udpAndVNI = 8 + 4
	ip, header := frame[ethHeader:], ipv4Header
	addr := func(from, to int) string { a, _ := netip.AddrFromSlice(ip[from:to]); return a.String() }
	e := envelope{From: addr(12, 16), To: addr(16, 20)}
	if ip[0]>>4 == 6 {
		header = ipv6Header
		e = envelope{From: addr(8, 24), To: addr(24, 40)}
	}
	e.VNI = binary.BigEndian.Uint32(ip[header+udpAndVNI:]) >> 8
	return e
}

// TestTheWire needs root: the outer addresses and the identity of what crosses between nodes, and the MAC on receipt.
func TestTheWire(t *testing.T) {
	for name, r := range map[string]road{
		"over IPv4": {}, "over IPv6": {v6: true}, "by the device": {device: true},
		"through the stack": {config: loader.Config{StackForwarding: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, r, pathMTU)
			wire := c.nodes[1].sniff(t, c.cards[1].Attrs().Index)
			inside := c.pods[1].sniff(t, c.pods[1].device.Attrs().Index)
			outer := underlays(r.v6)
			for _, to := range c.pods[1].endpoint.Addrs {
				for sender, vni := range map[*namespace]uint32{c.pods[0].namespace: 1001, c.nodes[0].namespace: 1} {
					sender.reach(t, []netip.Addr{to}, 84, false)
					sender.say(t, to)
					frame := wire.await(t, patience, marked)
					if frame == nil {
						t.Fatalf("nothing for %s on the wire", to)
					}
					want := envelope{From: outer[0].String(), To: outer[1].String(), VNI: vni}
					if diff := cmp.Diff(want, open(frame)); diff != "" {
						t.Errorf("to %s (-want +got):\n%s", to, diff)
					}
					got := inside.await(t, patience, marked)
					if got == nil || destination(got) != c.pods[1].ifc.MAC.String() {
						t.Errorf("to %s: the pod got %x", to, got)
					}
				}
			}
		})
	}
}

// TestMACsOnReceipt needs root: redirects would hide a wrong one until a packet takes another way.
func TestMACsOnReceipt(t *testing.T) {
	for name, r := range roads() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, r, pathMTU)
			neighbour := c.nodes[1].addPod(t, 1003, pathMTU)
			inside := c.pods[1].sniff(t, c.pods[1].device.Attrs().Index)
			for sender, n := range map[string]*namespace{
				"a pod here": neighbour.namespace, "a pod elsewhere": c.pods[0].namespace, "the host": c.nodes[1].namespace,
			} {
				for _, to := range c.pods[1].endpoint.Addrs {
					n.reach(t, []netip.Addr{to}, 84, false)
					n.say(t, to)
					got := inside.await(t, patience, marked)
					if got == nil || destination(got) != c.pods[1].ifc.MAC.String() {
						t.Errorf("%s to %s: the pod got %x", sender, to, got)
					}
				}
			}
		})
	}
}

// TestForgeriesDoNotArrive needs root: what a pod makes up reaches neither the other pod nor the wire.
func TestForgeriesDoNotArrive(t *testing.T) {
	c := newCluster(t, road{}, pathMTU)
	victim, liar := c.pods[1], c.pods[0]
	liar.reach(t, victim.endpoint.Addrs, 84, false)
	inside := victim.sniff(t, victim.device.Attrs().Index)
	wire := c.nodes[1].sniff(t, c.cards[1].Attrs().Index)
	to4, to6 := victim.endpoint.Addrs[0].String(), victim.endpoint.Addrs[1].String()
	for name, f := range map[string]frame{
		"another source":           {src: world4, dst: to4, payload: []byte(marker)},
		"another IPv6 source":      {src: world6, dst: to6, payload: []byte(marker)},
		"the node's source":        {src: here4, dst: to4, payload: []byte(marker)},
		"another MAC":              {smac: mac{2, 9}, src: liar.endpoint.Addrs[0].String(), dst: to4, payload: []byte(marker)},
		"a tunnel packet":          {src: liar.endpoint.Addrs[0].String(), dst: there4, dport: tunnelPort, payload: vxlan(1, victim)},
		"a tunnel packet for IPv6": {src: liar.endpoint.Addrs[1].String(), dst: there6, dport: tunnelPort, payload: vxlan(1001, victim)},
		"a tunnel packet with the node's source": {
			src: here4, dst: there4, dport: tunnelPort, payload: vxlan(1, victim),
		},
	} {
		if f.smac == (mac{}) {
			f.smac = mac(liar.ifc.MAC)
		}
		f.dmac = mac(liar.ifc.HostMAC)
		liar.inject(t, liar.device.Attrs().Index, f)
		if got := inside.await(t, impatience, marked); got != nil {
			t.Errorf("%s: the pod got %x", name, got)
		}
		if got := wire.await(t, impatience, marked); got != nil {
			t.Errorf("%s: on the wire was %x", name, got)
		}
	}
}

// vxlan is a tunnel packet's payload with a marked packet for the pod, as its neighbour's node would send it.
func vxlan(vni uint32, to *pod) []byte {
	inner := frame{src: "10.0.1.1", dst: to.endpoint.Addrs[0].String(), payload: []byte(marker)}
	return append(binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, vni<<8), inner.bytes()...)
}

// TestAForeignMachineCannotTunnel needs root: tunnel packets count only from nodes, and only for their own pods.
func TestAForeignMachineCannotTunnel(t *testing.T) {
	c := newCluster(t, road{}, pathMTU)
	victim, neighbour := c.pods[1], c.nodes[0]
	c.pods[0].reach(t, victim.endpoint.Addrs, 84, false)
	inside := victim.sniff(t, victim.device.Attrs().Index)
	card := c.cards[0].Attrs().Index
	for name, s := range map[string]struct {
		src     string
		payload []byte
		arrives bool
	}{
		"the node itself":           {"192.168.9.1", vxlan(1, victim), true},
		"another machine":           {"192.168.9.77", vxlan(1, victim), false},
		"the node, as one of a pod": {"192.168.9.1", vxlan(1001, victim), false},
		"the node, as the world":    {"192.168.9.1", vxlan(2, victim), false},
		"the node, as nobody known": {"192.168.9.1", vxlan(5555, victim), false},
	} {
		neighbour.inject(t, card, frame{
			smac: mac(c.cards[0].Attrs().HardwareAddr), dmac: mac(c.cards[1].Attrs().HardwareAddr),
			src: s.src, dst: "192.168.9.2", sport: 40000, dport: tunnelPort, payload: s.payload,
		})
		if got := inside.await(t, impatience, marked); (got != nil) != s.arrives {
			t.Errorf("%s: the pod got %x", name, got)
		}
	}
}

// TestAnUnknownPodIsNeverWorld needs root: native routing, a pod whose endpoint this node has not heard of.
func TestAnUnknownPodIsNeverWorld(t *testing.T) {
	c := newCluster(t, road{config: loader.Config{Native: true}}, pathMTU)
	there := c.pods[1].endpoint.Addrs
	c.pods[0].reach(t, there, 84, false)
	for _, n := range c.nodes {
		for _, a := range append(append([]netip.Addr{}, there...), c.pods[0].endpoint.Addrs...) {
			must(t, n.maps.DeleteRoutes([]netip.Prefix{full(a)}))
		}
	}
	c.pods[0].notReach(t, there, 84, false)
	counts, err := c.nodes[0].maps.Counts()
	must(t, err)
	want := datapath.Count{Reason: "UNKNOWN_POD", Direction: "egress", Packets: 2, Bytes: 196}
	for _, got := range counts {
		if got.Reason == want.Reason {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(fmt.Sprint("counted (-want +got):\n", diff))
			}
			return
		}
	}
	t.Errorf("no UNKNOWN_POD in %v", counts)
}

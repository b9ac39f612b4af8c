//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// overhead is what VXLAN over IPv4 adds to a packet.
const overhead = 50

// TestWhoWritesTunnelFrames needs root: from_pod, or the tunnel device where a program cannot or must not.
func TestWhoWritesTunnelFrames(t *testing.T) {
	const byIPv6 = "10.0.2.66"
	for name, c := range map[string]struct {
		src, dst string
		bytes    int
		change   func(gate, *testing.T)
		device   bool
	}{
		"IPv4":                          {dst: remotePod4},
		"IPv6":                          {src: podA6, dst: remotePod6},
		"as much as the way takes":      {dst: remotePod4, bytes: routeMTU - overhead},
		"more than the way takes":       {dst: remotePod4, bytes: routeMTU - overhead + 1, device: true},
		"a node that is known by IPv6":  {dst: byIPv6, device: true},
		"a card that pods do not reach": {dst: remotePod4, device: true, change: func(g gate, t *testing.T) { g.setCard(t, maps.Card{}) }},
		"no way":                        {dst: remotePod4, device: true, change: gate.dropRoutes},
		"packets are to be encrypted": {dst: remotePod4, device: true, change: func(g gate, t *testing.T) {
			must(t, g.maps.SetNode(maps.NodeConfig{TunnelIfindex: g.card, MTU: pathMTU, Addrs: []netip.Addr{netip.MustParseAddr(here4)}}))
		}},
		"a node whose address is not known": {dst: remotePod4, device: true, change: func(g gate, t *testing.T) {
			must(t, g.maps.SetNode(maps.NodeConfig{TunnelIfindex: g.card, MTU: pathMTU, Encapsulate: true}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newDirectGate(t, loader.Config{})
			must(t, g.maps.PutRoutes([]datapath.Route{{
				Prefix: full(netip.MustParseAddr(byIPv6)), Identity: identityRemote, Node: netip.MustParseAddr(there6),
			}}))
			if c.change != nil {
				c.change(g, t)
			}
			f := g.fromA(frame{src: podA4, dst: c.dst, protocol: protoTCP})
			if c.src != "" {
				f.src = c.src
			}
			if c.bytes > 0 {
				f = g.sized(f, c.bytes)
			}
			got := g.run(t, run{program: "from_pod", in: f})
			if got.action != redirect || got.mark != markKeyed {
				t.Errorf("action %d, mark %#x", int32(got.action), got.mark)
			}
			inner := got.out
			if !c.device {
				if diff := gocmp.Diff(envelope{From: here4, To: there4, VNI: identityA}, open(got.out)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				inner = got.out[overhead:]
			}
			if diff := gocmp.Diff(hop(f, f.smac[:], f.dmac[:]).bytes(), inner); diff != "" {
				t.Errorf("inside (-want +got):\n%s", diff)
			}
		})
	}
}

func (g gate) dropRoutes(t *testing.T) {
	t.Helper()
	must(t, g.link.RouteDel(&netlink.Route{Dst: network(netip.MustParsePrefix("0.0.0.0/0")), LinkIndex: g.card}))
}

// TestFramesAreTheDevices needs root: what a program writes is, byte for byte, what the tunnel device would have sent, but
// for the number of the packet and the port that stands for its connection, and so for its checksum.
func TestFramesAreTheDevices(t *testing.T) {
	c := newCluster(t, road{}, pathMTU)
	wire := c.nodes[1].sniff(t, c.cards[1].Attrs().Index)
	from, to := c.pods[0], c.pods[1].endpoint.Addrs
	from.reach(t, to, 84, false)
	for family := range 2 {
		for _, tos := range []uint8{0, 1, 2, 3, 0xb8, 0xff} {
			for _, payload := range []string{marker, marker + "!"} {
				t.Run(fmt.Sprintf("%s, type of service %#x, %d bytes", to[family], tos, len(payload)), func(t *testing.T) {
					f := frame{
						smac: mac(from.ifc.MAC), dmac: mac(from.ifc.HostMAC), tos: tos, payload: []byte(payload),
						dontFragment: payload != marker,
						src:          from.endpoint.Addrs[family].String(), dst: to[family].String(), sport: 7, dport: 4000, summed: true,
					}
					var frames [2][]byte
					for i, encapsulate := range []bool{false, true} {
						c.setNode(t, 0, encapsulate)
						from.inject(t, from.device.Attrs().Index, f)
						if frames[i] = wire.await(t, patience, marked); frames[i] == nil {
							t.Fatal("nothing came")
						}
						blank(t, frames[i])
					}
					if diff := gocmp.Diff(frames[0], frames[1]); diff != "" {
						t.Errorf("(-device +program):\n%s", diff)
					}
				})
			}
		}
	}
}

// blank checks the outer header's sum, and takes out what is another for each packet.
func blank(t *testing.T, frame []byte) {
	t.Helper()
	const id, sum, port = 4, 10, 20
	ip := frame[ethHeader:]
	if got := checksum(ip[:ipv4Header]); got != 0 {
		t.Errorf("the outer header's checksum is off by %#x", got)
	}
	for _, at := range []int{id, sum, port} {
		binary.BigEndian.PutUint16(ip[at:], 0)
	}
}

// TestSegmentsInTheTunnel needs root: large packets, which cards cut and sum up, or leave to the kernel.
func TestSegmentsInTheTunnel(t *testing.T) {
	const largest = ethHeader + pathMTU + overhead
	for name, offload := range map[string]string{"by the card": "on", "by the kernel": "off"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, road{}, pathMTU)
			for _, n := range c.nodes {
				n.run(t, "ethtool", "-K", "eth0", "tso", offload, "gso", offload, "tx", offload, "sg", offload)
			}
			wire := c.nodes[1].sniff(t, c.cards[1].Attrs().Index)
			for _, a := range c.pods[1].endpoint.Addrs {
				stream(t, c.pods[0], c.pods[1], a)
				segments(t, c.pods[0], c.pods[1], a)
			}
			got := wire.await(t, patience, func(frame []byte) bool { return len(frame) >= largest })
			if cut := len(got) == largest; cut != (offload == "off") {
				t.Errorf("a frame of %d bytes was on the wire; the largest that fits has %d", len(got), largest)
			}
		})
	}
}

// segments sends three datagrams as one, and demands each.
func segments(t *testing.T, from, to *pod, address netip.Addr) {
	t.Helper()
	const count, size = 3, 1000
	var server net.PacketConn
	to.do(t, func() (err error) {
		server, err = net.ListenPacket("udp", netip.AddrPortFrom(address, 5002).String())
		return err
	})
	defer server.Close()
	from.do(t, func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(address, 5002).String())
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		var set error
		if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) }); err != nil {
			return err
		}
		_, err = c.Write(make([]byte, count*size))
		return errors.Join(set, err)
	})
	must(t, server.SetReadDeadline(time.Now().Add(patience)))
	for i := range count {
		n, _, err := server.ReadFrom(make([]byte, 1<<16))
		must(t, err)
		if n != size {
			t.Errorf("datagram %d of %d to %s: got %d bytes, want %d", i+1, count, address, n, size)
		}
	}
}

// TestATunnelInTheTunnel needs root: pods with a VXLAN of their own, whose packets the kernel lets only its devices wrap again.
func TestATunnelInTheTunnel(t *testing.T) {
	c := newCluster(t, road{}, pathMTU)
	inside := [2]netip.Addr{netip.MustParseAddr("172.30.0.1"), netip.MustParseAddr("172.30.0.2")}
	for i, p := range c.pods {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "nested", pathMTU-overhead
		must(t, p.link.LinkAdd(&netlink.Vxlan{
			LinkAttrs: attrs, VxlanId: 5, Port: 4789, VtepDevIndex: p.device.Attrs().Index,
			Group: c.pods[1-i].endpoint.Addrs[0].AsSlice(),
		}))
		nested, err := p.link.LinkByName("nested")
		must(t, err)
		with := address(inside[i])
		with.IPNet = network(netip.PrefixFrom(inside[i], 24))
		must(t, p.link.AddrAdd(nested, with))
		must(t, p.link.LinkSetUp(nested))
	}
	c.pods[0].reach(t, inside[1:], 84, false)
	stream(t, c.pods[0], c.pods[1], inside[1])
	tunnel, err := c.nodes[0].link.LinkByIndex(c.tunnels[0])
	must(t, err)
	if tunnel.Attrs().Statistics.TxPackets == 0 {
		t.Error("the tunnel device sent nothing")
	}
}

// run executes a command inside the namespace.
func (n *namespace) run(t testing.TB, command ...string) {
	t.Helper()
	n.do(t, func() error {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %w: %s", command, err, bytes.TrimSpace(out))
		}
		return nil
	})
}

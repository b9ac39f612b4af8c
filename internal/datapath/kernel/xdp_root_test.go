// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
	"github.com/ciliate-io/ciliate/internal/service"
)

// newWiredCluster is one whose wire is as near to a real one as veths come: its ends take what XDP sends, and who sends
// makes the sums of its packets itself. XDP leaves packets without sums alone.
func newWiredCluster(t *testing.T, m mode) *cluster {
	t.Helper()
	c := newCluster(t, m)
	for i := range c.nodes {
		c.world.Script(t, fmt.Sprintf("ethtool -K port%d gro on", i+1))
	}
	c.setSums(t, "off")
	return c
}

// setSums leaves sums to the cards ("on"), or has senders make them.
func (c *cluster) setSums(t *testing.T, offload string) {
	t.Helper()
	c.world.Script(t, "ethtool -K br0 tx "+offload)
	for _, n := range c.nodes {
		n.netns.Script(t, "ethtool -K eth0 tx "+offload)
		for _, p := range n.pods {
			p.netns.Script(t, "ethtool -K eth0 tx "+offload)
		}
	}
}

// kernelTells is whether the kernel says what devices can send, as Linux does from 6.3 on. Where it does not, nobody can know of
// a veth, so that every packet goes the usual way.
func kernelTells() bool {
	_, err := netlink.GenlFamilyGet("netdev")
	return err == nil
}

// setAcceleration switches it on the first node, and demands that the card follows.
func (c *cluster) setAcceleration(t *testing.T, on bool) {
	t.Helper()
	n := c.nodes[0]
	n.want.Accelerate = on
	state := n.ensureNode(t)
	accelerated, plain := on && kernelTells(), on && !kernelTells()
	if len(state.Accelerated) == 1 != accelerated || len(state.Plain) == 1 != plain {
		t.Fatalf("accelerated devices %v, plain ones %v", state.Accelerated, state.Plain)
	}
	n.wantXDP(t, on)
}

// wantXDP demands a program on the card, or none. The kernel takes off one whose link is gone a moment later.
func (n *clusterNode) wantXDP(t *testing.T, want bool) {
	t.Helper()
	var shown string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if shown = n.netns.Run(t, "ip", "link", "show", "eth0"); strings.Contains(shown, "xdp") == want {
			return
		}
	}
	t.Errorf("an XDP program should be on eth0: %v, but\n%s", want, shown)
}

// accelerated is how many packets XDP led on.
func (n *clusterNode) accelerated(t *testing.T) uint64 {
	t.Helper()
	counts, err := n.Counts()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(counts, func(c datapath.Count) bool { return c.Reason == "accelerated" })
	if i < 0 {
		return 0
	}
	return counts[i].Packets
}

// TestAccelerated asks from the world for every place of a backend, by a card with XDP.
func TestAccelerated(t *testing.T) {
	c := newWiredCluster(t, modes()["native"])
	c.setAcceleration(t, true)
	n := c.nodes[0]
	byXDP := map[string]bool{
		"a pod of another node": true, "a process of another node": true, "something outside the nodes": true,
	}
	for where, p := range c.places() {
		before := n.accelerated(t)
		for i, addr := range n.want.Addrs {
			at := netip.AddrPortFrom(addr, uint16(nodePort+i))
			n.publish(t, at, service.Entry{}, p.like(addr).Addr())
			c.wantServed(t, where, at, p)
		}
		if got := n.accelerated(t) - before; (got > 0) != (byXDP[where] && kernelTells()) {
			t.Errorf("%s: XDP led %d packets on, want some: %v", where, got, byXDP[where])
		}
	}
}

// TestUnsummedPacketsAreNotAccelerated: from senders on the same machine, as in clusters of containers.
func TestUnsummedPacketsAreNotAccelerated(t *testing.T) {
	c := newWiredCluster(t, modes()["native"])
	c.setSums(t, "on")
	c.setAcceleration(t, true)
	n, backend := c.nodes[0], c.nodes[1].pods[0]
	for i, addr := range n.want.Addrs {
		at := netip.AddrPortFrom(addr, uint16(nodePort+i))
		n.publish(t, at, service.Entry{}, backend.Addrs[i])
		c.wantServed(t, "a pod of another node", at, c.places()["a pod of another node"])
	}
	if got := n.accelerated(t); got != 0 {
		t.Errorf("XDP led %d packets on", got)
	}
}

// TestAccelerationComesAndGoes under connections of TCP that never stop talking; the agent restarts as well.
func TestAccelerationComesAndGoes(t *testing.T) {
	m := modes()["native"]
	c := newWiredCluster(t, m)
	n, backend := c.nodes[0], c.nodes[1].pods[0]
	var talks []func() error
	for i, addr := range n.want.Addrs {
		at := netip.AddrPortFrom(addr, nodePort)
		n.publish(t, at, service.Entry{}, backend.Addrs[i])
		talks = append(talks, c.open(t, c.world, at, backend.netns, netip.AddrPortFrom(backend.Addrs[i], backendPort)))
	}
	end := make(chan struct{})
	ended := make(chan error, len(talks))
	for _, talk := range talks {
		go func() { ended <- untilClosed(end, talk) }()
	}
	for range 3 {
		c.setAcceleration(t, true)
		c.moves(t, true)
		n.restart(t, m.cfg)
		c.moves(t, true)
		c.setAcceleration(t, true)
		c.moves(t, true)
		c.setAcceleration(t, false)
		c.moves(t, false)
	}
	close(end)
	for range talks {
		if err := <-ended; err != nil {
			t.Errorf("a connection is lost: %v\n%s", err, c.drops(t))
		}
	}
}

// untilClosed repeats the talk until the channel is closed.
func untilClosed(end <-chan struct{}, talk func() error) error {
	for {
		select {
		case <-end:
			return nil
		default:
		}
		if err := talk(); err != nil {
			return err
		}
	}
}

// moves demands that packets are led on by XDP, or none is.
func (c *cluster) moves(t *testing.T, want bool) {
	t.Helper()
	const while, pause = 100 * time.Millisecond, 5 * time.Millisecond
	before := c.nodes[0].accelerated(t)
	for deadline := time.Now().Add(while); time.Now().Before(deadline); time.Sleep(pause) {
		if c.nodes[0].accelerated(t) > before {
			break
		}
	}
	if got := c.nodes[0].accelerated(t) > before; got != (want && kernelTells()) {
		t.Errorf("XDP leads packets on: %v, want %v", got, want)
	}
}

// TestWhoCannotAccelerate names the devices and what is in the way.
func TestWhoCannotAccelerate(t *testing.T) {
	tests := map[string]struct {
		card []string
		want string
	}{
		"a veth whose peer takes nothing": {
			card: []string{"ip link add eth0 type veth peer name wire"},
			want: "does not send what XDP leads to it",
		},
		"a device whose driver knows no XDP": {
			card: []string{"ip link add eth0 type bridge"},
			want: "has a driver without XDP",
		},
		"no Ethernet": {
			card: []string{"ip tuntap add mode tun dev eth0"},
			want: "has no MAC address",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node := lab.Enter(t)
			node.Script(t, append(tt.card, "ip link set eth0 mtu 1500 up", "ip addr add 192.0.2.1/24 dev eth0")...)
			d := open(t, datapath.Config{TunnelPort: 8472})
			state, err := d.EnsureNode(t.Context(), datapath.Node{
				Addrs: addrs("192.0.2.1"), PodCIDRs: prefixes("10.0.1.0/24"), Routers: addrs("10.0.1.1"), Accelerate: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(state.Accelerated) != 0 || len(state.Plain) != 1 || state.Plain[0].Name != "eth0" ||
				!strings.HasPrefix(state.Plain[0].Reason, tt.want) {
				t.Errorf("accelerated %v, plain %v, want eth0, which %s", state.Accelerated, state.Plain, tt.want)
			}
		})
	}
}

// TestForeignXDPStays on a card, and is named.
func TestForeignXDPStays(t *testing.T) {
	c := newWiredCluster(t, modes()["native"])
	n := c.nodes[0]
	n.attachForeignXDP(t)
	n.want.Accelerate = true
	want := []datapath.PlainDevice{{Name: "eth0", Reason: "runs an XDP program of another owner"}}
	if diff := cmp.Diff(want, n.ensureNode(t).Plain); diff != "" {
		t.Errorf("plain devices (-want +got):\n%s", diff)
	}
	n.want.Accelerate = false
	n.ensureNode(t)
	n.wantXDP(t, true)
}

// attachForeignXDP puts a program on the card as other tools do: by netlink, and for good.
func (n *clusterNode) attachForeignXDP(t *testing.T) {
	t.Helper()
	const pass = 2
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, pass), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	n.netns.Do(t, func() {
		card, err := netlink.LinkByName("eth0")
		if err == nil {
			err = netlink.LinkSetXdpFd(card, p.FD())
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestUndoTakesXDPOff leaves nothing on the card.
func TestUndoTakesXDPOff(t *testing.T) {
	c := newWiredCluster(t, modes()["native"])
	c.setAcceleration(t, true)
	n := c.nodes[0]
	n.netns.Do(t, func() {
		if err := n.Undo(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	n.wantXDP(t, false)
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// TestOldTableGoes finds the table of an earlier version, and netfilter with nothing to track.
func TestOldTableGoes(t *testing.T) {
	c := &cluster{world: lab.Enter(t)}
	c.world.Script(t, "ip link add br0 type bridge", "ip link set br0 up")
	n := c.newNode(t, 1, modes()["tunnel"])
	n.netns.Script(t,
		"nft add table inet ciliate",
		"nft add chain inet ciliate postrouting { type nat hook postrouting priority 100 ; }",
		"nft add rule inet ciliate postrouting ip saddr 10.0.1.0/24 masquerade")
	n.ensureNode(t)
	if left := n.netns.Run(t, "nft", "list", "ruleset"); strings.Contains(left, "masquerade") {
		t.Errorf("left behind:\n%s", left)
	}
}

// TestNothingIsTracked sends over every path and wants netfilter to have seen no connection: to track costs on each packet.
func TestNothingIsTracked(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, m)
			for _, path := range c.paths() {
				for _, to := range path.to {
					c.wantPing(t, path, to, 56)
				}
			}
			for _, family := range []string{"ipv4", "ipv6"} {
				if out := c.nodes[0].netns.Run(t, "conntrack", "-L", "-f", family); !strings.Contains(out, " 0 flow entries") {
					t.Errorf("netfilter tracks:\n%s", out)
				}
			}
		})
	}
}

// TestTheTunnelIsNotTracked has somebody's rule turn tracking on, as the kubelet's do, and pods talk through the tunnel.
func TestTheTunnelIsNotTracked(t *testing.T) {
	for _, name := range []string{"tunnel", "tunnel over IPv6"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, modes()[name])
			one, two := c.nodes[0], c.nodes[1]
			one.netns.Script(t,
				"nft add table inet kubelet", "nft add chain inet kubelet in { type filter hook input priority 0 ; }",
				"nft add rule inet kubelet in ct status dnat drop")
			c.wantPing(t, path{name: "node to node", from: one.netns}, two.want.Addrs[0], 56)
			c.wantPing(t, path{name: "pod to pod", from: one.pods[0].netns}, two.pods[0].Addrs[0], 56)
			out := one.netns.Run(t, "conntrack", "-L", "-f", "ipv4") + one.netns.Run(t, "conntrack", "-L", "-f", "ipv6")
			if !strings.Contains(out, "icmp") || strings.Contains(out, "dport=8472") {
				t.Errorf("want the nodes' ping tracked and the tunnel not, got:\n%s", out)
			}
		})
	}
}

// TestErrorsReachMasqueradedPods: beyond the world is a wire on which less fits, and pods are to learn of it.
func TestErrorsReachMasqueradedPods(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, m)
			far := c.newFar(t)
			pod := c.nodes[0].pods[0].netns
			for _, to := range addrs(far4, far6) {
				beyond := path{name: "pod beyond the world", from: pod, at: far, to: addrs(far4, far6), source: c.nodes[0].want.Addrs}
				c.wantPing(t, beyond, to, 56)
				// The first is too big and answered so; the next knows.
				_, _ = pod.Try(t, "ping", "-M", "do", "-n", "-c1", "-W1", "-s", "1300", to.String())
				if out := pod.Run(t, "ip", "route", "get", to.String()); !strings.Contains(out, "mtu 1300") {
					t.Errorf("the pod has not learnt of the MTU to %s: %s%s", to, out, c.drops(t))
				}
				c.wantConnect(t, beyond, to)
				if out, err := pod.Try(t, "ping", "-M", "dont", "-n", "-c2", "-i0.1", "-W2", "-s", "4000", to.String()); err != nil {
					t.Errorf("4000 bytes in pieces to %s: %v\n%s%s", to, err, out, c.drops(t))
				}
			}
		})
	}
}

// TestMasqueradeByADeviceWithoutMACs has somebody else's tunnel as the way to the world.
func TestMasqueradeByADeviceWithoutMACs(t *testing.T) {
	own := lab.Enter(t)
	tun := openTUN(t, "tun0")
	own.Script(t, "ip link set tun0 mtu 1400 up", "ip addr add 192.0.2.1/24 dev tun0", "ip addr add 2001:db8::1/64 dev tun0 nodad",
		"ip route add default dev tun0", "ip -6 route add default dev tun0")
	n := &clusterNode{netns: own, Datapath: open(t, datapath.Config{TunnelPort: 8472})}
	n.want = datapath.Node{
		Addrs: addrs("192.0.2.1", "2001:db8::1"), PodCIDRs: prefixes("10.0.1.0/24", "fd00:1::/64"),
		Routers: addrs("10.0.1.1", "fd00:1::1"), Masquerade: true,
	}
	n.ensureNode(t)
	pod := n.newPod(t, 7)
	go answerEchoes(tun)
	for _, to := range []string{"198.51.100.9", "2001:db8:9::9"} {
		if out, err := pod.netns.Try(t, "ping", "-n", "-c2", "-i0.1", "-W2", to); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// openTUN makes a device whose packets this process gets.
func openTUN(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var request [40]byte // struct ifreq
	copy(request[:unix.IFNAMSIZ], name)
	binary.NativeEndian.PutUint16(request[unix.IFNAMSIZ:], unix.IFF_TUN|unix.IFF_NO_PI)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request[0]))); errno != 0 {
		t.Fatal(errno)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// answerEchoes is the world, for those who come under the node's address.
func answerEchoes(tun *os.File) {
	packet := make([]byte, 2048)
	for {
		size, err := tun.Read(packet)
		if err != nil {
			return
		}
		p := packet[:size]
		// Both changes keep the sums: addresses swap, and the type's loss is the sum's gain.
		switch {
		case p[0]>>4 == 4 && p[9] == 1 && p[12] == 192 && p[20] == 8:
			swap(p[12:16], p[16:20])
			p[20] = 0
			addToSum(p[22:24], 8<<8)
		case p[0]>>4 == 6 && p[6] == 58 && p[8] == 0x20 && p[40] == 128:
			swap(p[8:24], p[24:40])
			p[40] = 129
			addToSum(p[42:44], 0xffff-1<<8)
		default:
			continue
		}
		if _, err := tun.Write(p); err != nil {
			return
		}
	}
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

func addToSum(field []byte, n uint32) {
	sum := uint32(binary.BigEndian.Uint16(field)) + n
	binary.BigEndian.PutUint16(field, uint16(sum)+uint16(sum>>16))
}

// TestTheHostsFirewall forwards nothing: what goes between pods and a card is none of its business, whichever side
// asked, unless packets cross the host's stack. What goes to another network of the machine always is.
func TestTheHostsFirewall(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			const guest4, guest6 = "172.31.0.2", "fd99:31::2"
			c := newCluster(t, m)
			n, guest := c.nodes[0], lab.New(t)
			pod := n.pods[0]
			n.netns.Script(t,
				"ip link add virbr0 type bridge", "ip link set virbr0 up",
				"ip addr add 172.31.0.1/24 dev virbr0", "ip addr add fd99:31::1/64 dev virbr0 nodad",
				"ip link add guest type veth peer name eth0 netns "+guest.Path(), "ip link set guest master virbr0 up")
			guest.Script(t,
				"ip link set eth0 up", "ip addr add "+guest4+"/24 dev eth0", "ip addr add "+guest6+"/64 dev eth0 nodad")
			guest.Settle(t)
			n.ensureNode(t)
			c.world.Script(t, "ip route add 10.0.1.0/24 via 192.0.2.1", "ip -6 route add fd00:1::/64 via 2001:db8::1")
			in := path{name: "the world to a pod", from: c.world, at: pod.netns, to: pod.Addrs}
			out := path{name: "a pod to the world", from: pod.netns, at: c.world, to: addrs(world4, world6)}
			aside := path{name: "a pod to another network", from: pod.netns, at: guest, to: addrs(guest4, guest6)}
			for _, p := range []path{in, out, aside} {
				c.wantPing(t, p, p.to[0], 56)
				c.wantPing(t, p, p.to[1], 56)
			}
			n.netns.Script(t,
				"nft add table inet firewall",
				"nft add chain inet firewall forward { type filter hook forward priority 0 ; policy drop ; }")
			for _, p := range []path{in, out} {
				for _, to := range p.to {
					if m.cfg.StackForwarding {
						c.wantNoPing(t, p, to)
						continue
					}
					c.wantPing(t, p, to, 56)
					c.wantConnect(t, p, to)
				}
			}
			for _, to := range aside.to {
				c.wantNoPing(t, aside, to)
			}
		})
	}
}

func (c *cluster) wantNoPing(t *testing.T, p path, to netip.Addr) {
	t.Helper()
	if _, err := p.from.Try(t, "ping", "-n", "-c1", "-W1", to.String()); err == nil {
		t.Errorf("%s: %s answers past the firewall", p.name, to)
	}
}

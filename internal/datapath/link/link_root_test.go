// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: every test makes network namespaces and devices in them.
package link_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
)

const hostIf = "lxc0123456789ab"

func open(t *testing.T) (*lab.Netns, *link.Links) {
	t.Helper()
	node := lab.Enter(t)
	links, err := link.Open(link.DefaultSysctls, rand.Reader)
	must(t, err)
	t.Cleanup(links.Close)
	return node, links
}

func TestEnsurePairConfiguresTheSandbox(t *testing.T) {
	node, links := open(t)
	node.Script(t, "sysctl -qw net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.default.forwarding=0")
	sandbox := lab.New(t)
	ifc := ensurePair(t, links, pair(sandbox))
	tests := map[string]struct {
		in      *lab.Netns
		command string
		want    []string
	}{
		"both addresses without detection": {in: sandbox, command: "ip addr show dev eth0", want: []string{"10.0.1.7/32", "fd00:1::7/128 scope global nodad", "mtu 1450", ifc.MAC.String(), "UP"}},
		"IPv4 by the gateway":              {in: sandbox, command: "ip route", want: []string{"default via 10.0.1.1 dev eth0", "10.0.1.1 dev eth0 scope link"}},
		"IPv6 by the gateway":              {in: sandbox, command: "ip -6 route", want: []string{"default via fd00:1::1 dev eth0", "fd00:1::1 dev eth0"}},
		"the gateways' MAC is known":       {in: sandbox, command: "ip neigh", want: []string{"10.0.1.1 dev eth0 lladdr " + ifc.HostMAC.String() + " PERMANENT", "fd00:1::1 dev eth0 lladdr " + ifc.HostMAC.String() + " PERMANENT"}},
		"loopback is up":                   {in: sandbox, command: "ip addr show dev lo", want: []string{"127.0.0.1/8"}},
		"the node's side is down":          {in: node, command: "ip -d link show dev " + hostIf, want: []string{"state DOWN", "alias uid-1", "addrgenmode none", "mtu 1450"}},
		"no reverse path filter":           {in: node, command: "sysctl net.ipv4.conf." + hostIf + ".rp_filter", want: []string{"= 0"}},
		"IPv4 is forwarded":                {in: node, command: "sysctl net.ipv4.conf." + hostIf + ".forwarding", want: []string{"= 1"}},
		"no router advertisements":         {in: node, command: "sysctl net.ipv6.conf." + hostIf + ".accept_ra", want: []string{"= 0"}},
	}
	for name, tt := range tests {
		out := tt.in.Run(t, strings.Fields(tt.command)...)
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", name, want, out)
			}
		}
	}
}

func TestEnsurePairRepairsAndReplaces(t *testing.T) {
	tests := map[string]struct {
		onNode, inSandbox []string
		change            func(*link.Pair)
		replaced          bool
	}{
		"the same again":              {},
		"an address was removed":      {inSandbox: []string{"ip addr flush dev eth0 scope global"}},
		"the default route is gone":   {inSandbox: []string{"ip route del default", "ip -6 route del default"}},
		"the device inside is down":   {inSandbox: []string{"ip link set eth0 down"}},
		"the neighbour was forgotten": {inSandbox: []string{"ip neigh flush all"}},
		"another MTU":                 {change: func(p *link.Pair) { p.MTU = 1400 }},
		"another owner":               {change: func(p *link.Pair) { p.Owner = "uid-2" }, replaced: true},
		"left half made":              {onNode: []string{"ip link set " + hostIf + " alias ''"}, replaced: true},
		"renamed inside":              {inSandbox: []string{"ip link set eth0 down", "ip link set eth0 name eth7"}, replaced: true},
		"IPv6 is off in the sandbox":  {inSandbox: []string{"sysctl -qw net.ipv6.conf.all.disable_ipv6=1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node, links := open(t)
			sandbox := lab.New(t)
			p := pair(sandbox)
			before := ensurePair(t, links, p)
			for _, line := range tt.onNode {
				node.Run(t, "sh", "-c", line)
			}
			sandbox.Script(t, tt.inSandbox...)
			if tt.change != nil {
				tt.change(&p)
			}
			after := ensurePair(t, links, p)
			if replaced := after.HostIndex != before.HostIndex; replaced != tt.replaced {
				t.Errorf("replaced = %v, want %v", replaced, tt.replaced)
			}
			out := sandbox.Run(t, "ip", "-d", "addr", "show", "dev", "eth0") + sandbox.Run(t, "ip", "route") +
				sandbox.Run(t, "ip", "-6", "route") + sandbox.Run(t, "ip", "neigh")
			for _, want := range []string{
				"10.0.1.7/32", "fd00:1::7/128", "default via 10.0.1.1", "default via fd00:1::1",
				"10.0.1.1 dev eth0 lladdr " + after.HostMAC.String(),
			} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}

func TestEnsurePairRefuses(t *testing.T) {
	tests := map[string]struct {
		arrange func(t *testing.T, node, sandbox *lab.Netns, p *link.Pair)
		want    error
	}{
		"a sandbox that is gone": {
			arrange: func(_ *testing.T, _, _ *lab.Netns, p *link.Pair) { p.Netns = "/run/netns/nowhere" },
			want:    datapath.ErrSandboxGone,
		},
		"the node itself": {
			arrange: func(_ *testing.T, node, _ *lab.Netns, p *link.Pair) { p.Netns = node.Path() },
			want:    datapath.ErrInvalidNetns,
		},
		"a plain file": {
			arrange: func(t *testing.T, _, _ *lab.Netns, p *link.Pair) {
				p.Netns = filepath.Join(t.TempDir(), "file")
				must(t, os.WriteFile(p.Netns, nil, 0o600))
			},
			want: datapath.ErrInvalidNetns,
		},
		"another kind of namespace": {
			arrange: func(_ *testing.T, _, _ *lab.Netns, p *link.Pair) { p.Netns = "/proc/self/ns/uts" },
			want:    datapath.ErrInvalidNetns,
		},
		"a device of somebody else in the sandbox": {
			arrange: func(t *testing.T, _, sandbox *lab.Netns, _ *link.Pair) {
				sandbox.Script(t, "ip link add eth0 type veth peer name other")
			},
			want: datapath.ErrForeignDevice,
		},
		"a device of another kind on the node": {
			arrange: func(t *testing.T, node, _ *lab.Netns, _ *link.Pair) {
				node.Script(t, "ip link add "+hostIf+" type bridge")
			},
			want: datapath.ErrForeignDevice,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node, links := open(t)
			sandbox := lab.New(t)
			p := pair(sandbox)
			tt.arrange(t, node, sandbox, &p)
			if _, err := links.EnsurePair(p); !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestEnsureTunnelRepairs(t *testing.T) {
	tests := map[string]struct {
		between  string
		replaced bool
	}{
		"the same again": {},
		"another MAC":    {between: "ip link set cilium_vxlan address 02:00:00:00:00:99"},
		"another MTU":    {between: "ip link set cilium_vxlan mtu 1300"},
		"ARP is on":      {between: "ip link set cilium_vxlan arp on"},
		"addresses are generated": {
			between: "ip link set cilium_vxlan addrgenmode eui64",
		},
		"the reverse path filter is on": {between: "sysctl -qw net.ipv4.conf.cilium_vxlan.rp_filter=1"},
		"it was removed":                {between: "ip link del cilium_vxlan", replaced: true},
		"another port": {
			between: "ip link del cilium_vxlan && ip link add cilium_vxlan type vxlan external dstport 4789", replaced: true,
		},
		"fixed keys": {
			between: "ip link del cilium_vxlan && ip link add cilium_vxlan type vxlan id 7 dstport 8472", replaced: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node, links := open(t)
			want := link.Tunnel{Port: 8472, MTU: 1450, MAC: link.TunnelMAC(netip.MustParseAddr("192.0.2.1"))}
			before, err := links.EnsureTunnel(want)
			must(t, err)
			must(t, links.RaiseTunnel(before, 8472))
			if tt.between != "" {
				node.Run(t, "sh", "-c", tt.between)
			}
			after, err := links.EnsureTunnel(want)
			must(t, err)
			must(t, links.RaiseTunnel(after, 8472))
			if replaced := after != before; replaced != tt.replaced {
				t.Errorf("replaced = %v, want %v", replaced, tt.replaced)
			}
			out := node.Run(t, "ip", "-d", "link", "show", "dev", "cilium_vxlan") +
				node.Run(t, "sysctl", "net.ipv4.conf.cilium_vxlan.rp_filter")
			for _, part := range []string{
				want.MAC.String(), "mtu 1450", "NOARP", "UP", "external", "dstport 8472", "addrgenmode none", "rp_filter = 0",
			} {
				if !strings.Contains(out, part) {
					t.Errorf("no %q in\n%s", part, out)
				}
			}
		})
	}
}

func TestTunnelPortInUse(t *testing.T) {
	tests := map[string]struct {
		arrange func(t *testing.T, node *lab.Netns)
		names   string
	}{
		"a VXLAN device of somebody else": {
			arrange: func(t *testing.T, node *lab.Netns) {
				node.Script(t, "ip link add flannel.1 type vxlan id 1 dstport 8472")
			},
			names: "flannel.1",
		},
		"a program that listens": {
			arrange: func(t *testing.T, _ *lab.Netns) {
				socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
				must(t, err)
				t.Cleanup(func() { _ = unix.Close(socket) })
				must(t, unix.Bind(socket, &unix.SockaddrInet4{Port: 8472}))
			},
			names: "8472",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node, links := open(t)
			tt.arrange(t, node)
			index, err := links.EnsureTunnel(link.Tunnel{Port: 8472, MTU: 1450, MAC: link.TunnelMAC(netip.Addr{})})
			if err == nil {
				err = links.RaiseTunnel(index, 8472)
			}
			if !errors.Is(err, datapath.ErrTunnelPortInUse) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("error = %v, want %v naming %s", err, datapath.ErrTunnelPortInUse, tt.names)
			}
		})
	}
}

func TestEnsureHost(t *testing.T) {
	node, links := open(t)
	must(t, links.EnsureHost([]netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:1::1")}, 1450))
	node.Script(t, "ip addr add 10.0.1.99/32 dev cilium_host", "ip link set cilium_host down", "ip link set cilium_net down")
	must(t, links.EnsureHost([]netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("fd00:1::1")}, 1450))
	out := node.Run(t, "ip", "addr", "show", "dev", "cilium_host")
	for _, part := range []string{"10.0.1.2/32", "fd00:1::1/128", "state UP"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	for _, part := range []string{"10.0.1.99", "10.0.1.1/32", "fe80"} {
		if strings.Contains(out, part) {
			t.Errorf("%q is left in\n%s", part, out)
		}
	}
	node.Run(t, "ping", "-c1", "-W1", "10.0.1.2")
}

func TestSendsFrames(t *testing.T) {
	// Linux says it from 6.3 on; before, no veth is believed to.
	_, err := netlink.GenlFamilyGet("netdev")
	told := err == nil
	tests := map[string]struct {
		commands []string
		want     bool
	}{
		"a veth":                      {commands: []string{"ip link add eth0 type veth peer name wire"}},
		"a veth with a peer that may": {commands: []string{"ip link add eth0 type veth peer name wire", "ethtool -K wire gro on"}, want: told},
		"a bridge, which runs no XDP": {commands: []string{"ip link add eth0 type bridge"}, want: !told},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node, links := open(t)
			node.Script(t, append(tt.commands, "ip link set eth0 up")...)
			index, err := links.Index("eth0")
			must(t, err)
			got, err := links.SendsFrames(index)
			must(t, err)
			if got != tt.want {
				t.Errorf("SendsFrames = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestForwardingKeepsAdvertisedRoutes(t *testing.T) {
	node, links := open(t)
	node.Script(t, "ip link add eth0 type veth peer name wire", "sysctl -qw net.ipv4.conf.all.rp_filter=1",
		"sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.conf.eth0.forwarding=0")
	routers := []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:1::1")}
	must(t, links.EnsureForwarding(routers, []link.Device{{Name: "eth0"}}))
	out := node.Run(t, "sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.eth0.accept_ra",
		"net.ipv4.conf.all.rp_filter", "net.ipv4.conf.eth0.forwarding")
	for _, want := range []string{"ip_forward = 1", "eth0.forwarding = 1", "all.forwarding = 1", "accept_ra = 2", "rp_filter = 0"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// outPolicy has all that goes between two networks encrypted.
const outPolicy = "ip xfrm policy add src 192.0.2.0/24 dst 198.51.100.0/24 dir out tmpl proto esp mode transport"

// TestEncrypts needs root: what is encrypted on its way in, or passed on, is no matter of who sends.
func TestEncrypts(t *testing.T) {
	node, links := open(t)
	for _, step := range []struct {
		command string
		want    bool
	}{
		{command: strings.Replace(outPolicy, "dir out", "dir in", 1)},
		{command: outPolicy, want: true},
		{command: "ip xfrm policy flush"},
	} {
		node.Script(t, step.command)
		got, err := links.Encrypts()
		must(t, err)
		if got != step.want {
			t.Errorf("after %q: got %t, want %t", step.command, got, step.want)
		}
	}
}

func TestChanges(t *testing.T) {
	tests := map[string]struct {
		command string
		want    bool
	}{
		"a card appears":           {command: "ip link add eth1 type veth peer name wire1", want: true},
		"a card gets an address":   {command: "ip addr add 192.0.2.9/24 dev eth0", want: true},
		"a default route":          {command: "ip route add default dev eth0", want: true},
		"a route of ours is lost":  {command: "ip route del 10.0.2.0/24", want: true},
		"an IPsec policy":          {command: outPolicy, want: true},
		"a pod's device":           {command: "ip link add " + hostIf + " type veth peer name lxc0123456789ac"},
		"a pod's route":            {command: "ip route add 10.0.1.7/32 dev eth0 proto 202"},
		"a neighbour":              {command: "ip neigh add 192.0.2.77 dev eth0 lladdr 02:00:00:00:00:01"},
		"a route of another table": {command: "ip route add 10.9.0.0/16 dev eth0 table 77"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node, _ := open(t)
			node.Script(t, "ip link add eth0 type veth peer name wire", "ip link set eth0 up", "ip link set wire up",
				"ip addr add 198.51.100.1/24 dev eth0", "ip route add 10.0.2.0/24 dev eth0 proto 201")
			node.Settle(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			changes, err := link.Changes(ctx, time.After)
			must(t, err)
			node.Script(t, tt.command)
			select {
			case <-changes:
				if !tt.want {
					t.Error("a change was told")
				}
			case <-time.After(5 * link.Quiet):
				if tt.want {
					t.Error("no change was told")
				}
			}
		})
	}
}

func pair(sandbox *lab.Netns) link.Pair {
	return link.Pair{
		Host: hostIf, Inside: "eth0", Owner: "uid-1", Netns: sandbox.Path(), MTU: 1450,
		Addrs:    []netip.Addr{netip.MustParseAddr("10.0.1.7"), netip.MustParseAddr("fd00:1::7")},
		Gateways: []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:1::1")},
	}
}

func ensurePair(t *testing.T, links *link.Links, p link.Pair) datapath.Interface {
	t.Helper()
	ifc, err := links.EnsurePair(p)
	must(t, err)
	return ifc
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

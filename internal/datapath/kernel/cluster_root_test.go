// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/kernel"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// The world is the router of both nodes; it knows no way to pods.
const (
	world4 = "192.0.2.254"
	world6 = "2001:db8::fe"
)

// mode is a way in which a cluster can forward.
type mode struct {
	cfg datapath.Config
	// over6 makes IPv6 the first family of the nodes.
	over6 bool
	// mtu is what pods get, on cards of 1500.
	mtu int
}

func modes() map[string]mode {
	tunnel, native := datapath.Config{TunnelPort: 8472}, datapath.Config{TunnelPort: 8472, Native: true}
	tunnelByStack, nativeByStack := tunnel, native
	tunnelByStack.StackForwarding, nativeByStack.StackForwarding = true, true
	return map[string]mode{
		"tunnel":                    {cfg: tunnel, mtu: 1450},
		"tunnel over IPv6":          {cfg: tunnel, mtu: 1430, over6: true},
		"tunnel, through the stack": {cfg: tunnelByStack, mtu: 1450},
		"native":                    {cfg: native, mtu: 1500},
		"native, through the stack": {cfg: nativeByStack, mtu: 1500},
	}
}

// cluster is two nodes on one wire, and the world at its end.
type cluster struct {
	world *lab.Netns
	nodes [2]*clusterNode
}

// clusterNode is a node with two pods.
type clusterNode struct {
	*kernel.Datapath
	bpffs string
	netns *lab.Netns
	want  datapath.Node
	pods  [2]*pod
}

// pod is an endpoint and its sandbox.
type pod struct {
	datapath.Endpoint
	netns *lab.Netns
	ifc   datapath.Interface
}

// newCluster makes everything and tells both nodes of all.
func newCluster(t *testing.T, m mode) *cluster {
	t.Helper()
	c := &cluster{world: lab.Enter(t)}
	c.world.Script(t,
		"ip link add br0 type bridge", "ip link set br0 up",
		"ip addr add "+world4+"/24 dev br0", "ip addr add "+world6+"/64 dev br0 nodad")
	for i := range c.nodes {
		c.nodes[i] = c.newNode(t, i+1, m)
	}
	for i, n := range c.nodes {
		other := c.nodes[1-i].want
		n.want.Peers = []datapath.Peer{{
			Name: "peer", Addrs: other.Addrs, PodCIDRs: other.PodCIDRs, Routers: other.Routers,
		}}
		n.ensureNode(t)
		for j := range n.pods {
			n.pods[j] = n.newPod(t, uint16(10*(i+1)+j))
		}
	}
	for i, n := range c.nodes {
		c.tell(t, i)
		n.netns.Settle(t)
	}
	return c
}

// far4 and far6 are beyond the world.
const far4, far6 = "198.51.100.2", "2001:db8:1::2"

// newFar makes a machine beyond the world, to which packets of 1300 bytes go.
func (c *cluster) newFar(t *testing.T) *lab.Netns {
	t.Helper()
	far := lab.New(t)
	c.world.Script(t,
		"ip link add far mtu 1300 type veth peer name eth0 mtu 1300 netns "+far.Path(), "ip link set far up",
		"ip addr add 198.51.100.1/24 dev far", "ip addr add 2001:db8:1::1/64 dev far nodad",
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	far.Script(t,
		"ip link set eth0 up", "ip addr add "+far4+"/24 dev eth0", "ip addr add "+far6+"/64 dev eth0 nodad",
		"ip route add default via 198.51.100.1", "ip -6 route add default via 2001:db8:1::1")
	far.Settle(t)
	return far
}

// newNode makes a node with a card on the wire.
func (c *cluster) newNode(t *testing.T, number int, m mode) *clusterNode {
	t.Helper()
	n := &clusterNode{netns: lab.New(t)}
	port := fmt.Sprint("port", number)
	c.world.Script(t,
		"ip link add "+port+" type veth peer name eth0 netns "+n.netns.Path(),
		"ip link set "+port+" master br0 up")
	addr4, addr6 := fmt.Sprintf("192.0.2.%d", number), fmt.Sprintf("2001:db8::%d", number)
	n.netns.Script(t,
		"sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1",
		"ip link set eth0 up",
		"ip addr add "+addr4+"/24 dev eth0", "ip addr add "+addr6+"/64 dev eth0 nodad",
		"ip route add default via "+world4, "ip -6 route add default via "+world6)
	n.want = datapath.Node{
		Addrs:      addrs(addr4, addr6),
		PodCIDRs:   prefixes(fmt.Sprintf("10.0.%d.0/24", number), fmt.Sprintf("fd00:%d::/64", number)),
		Routers:    addrs(fmt.Sprintf("10.0.%d.1", number), fmt.Sprintf("fd00:%d::1", number)),
		Masquerade: true,
	}
	if m.over6 {
		slices.Reverse(n.want.Addrs)
	}
	n.bpffs = filepath.Join(lab.BPFFS(t), "cilium")
	n.netns.Do(t, func() { n.Datapath = openAt(t, m.cfg, n.bpffs) })
	return n
}

func (n *clusterNode) ensureNode(t *testing.T) (state datapath.NodeState) {
	t.Helper()
	n.netns.Do(t, func() { state = ensure(t, testNode{Datapath: n.Datapath, netns: n.netns, want: n.want}) })
	return state
}

// newPod makes a pod that talks.
func (n *clusterNode) newPod(t *testing.T, number uint16) *pod {
	t.Helper()
	p := &pod{netns: lab.New(t)}
	p.Endpoint = datapath.Endpoint{
		UID: fmt.Sprint("uid-", number), ID: number, Netns: p.netns.Path(), IfName: "eth0",
		HostIfName: datapath.HostIfName(fmt.Sprint(number), "eth0"), Gateways: n.want.Routers,
		Identity: 256 + datapath.Identity(number),
	}
	for _, cidr := range n.want.PodCIDRs {
		raw := cidr.Addr().AsSlice()
		raw[len(raw)-1] = byte(number)
		addr, _ := netip.AddrFromSlice(raw)
		p.Addrs = append(p.Addrs, addr)
	}
	n.netns.Do(t, func() { n.ensurePod(t, p) })
	return p
}

func (n *clusterNode) ensurePod(t *testing.T, p *pod) {
	t.Helper()
	var err error
	if p.ifc, err = n.EnsureInterface(t.Context(), p.Endpoint); err != nil {
		t.Fatal(err)
	}
	if err := n.EnsureEndpoint(t.Context(), p.Endpoint, p.ifc); err != nil {
		t.Fatal(err)
	}
}

// tell gives one node its view of all addresses.
func (c *cluster) tell(t *testing.T, here int) {
	t.Helper()
	const host, remoteNode = 1, 6
	var routes []datapath.Route
	var ids []datapath.Identity
	for i, n := range c.nodes {
		at, node := netip.Addr{}, datapath.Identity(host)
		if i != here {
			at, node = n.want.Addrs[0], remoteNode
		}
		for _, addr := range append(n.want.Addrs, n.want.Routers...) {
			routes = append(routes, route(addr, node, at))
		}
		for _, cidr := range n.want.PodCIDRs {
			routes = append(routes, datapath.Route{Prefix: cidr, Node: at})
		}
		for _, p := range n.pods {
			ids = append(ids, p.Identity)
			for _, addr := range p.Addrs {
				routes = append(routes, route(addr, p.Identity, at))
			}
		}
	}
	n := c.nodes[here]
	if err := n.SyncRoutes(routes); err != nil {
		t.Fatal(err)
	}
	if err := n.SyncIdentities(ids); err != nil {
		t.Fatal(err)
	}
}

func route(addr netip.Addr, id datapath.Identity, at netip.Addr) datapath.Route {
	return datapath.Route{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Identity: id, Node: at}
}

// drops says why packets were dropped, for the message of a test that fails.
func (c *cluster) drops(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for i, n := range c.nodes {
		counts, err := n.Counts()
		if err != nil {
			t.Fatal(err)
		}
		for _, count := range counts {
			fmt.Fprintf(&text, "node %d: %s %s: %d packets\n", i+1, count.Direction, count.Reason, count.Packets)
		}
	}
	return text.String()
}

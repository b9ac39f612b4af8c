//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

const (
	tunnelPort = 8472
	// deviceMTU is that of cards, pathMTU what a packet between pods of different nodes may have. A pod with the first has
	// its too big packets found by the programs, and not by its own device.
	deviceMTU = 1500
	pathMTU   = 1400
)

// underlays are the addresses of the two nodes' cards by family.
func underlays(v6 bool) [2]netip.Addr {
	if v6 {
		return [2]netip.Addr{netip.MustParseAddr("fd99::1"), netip.MustParseAddr("fd99::2")}
	}
	return [2]netip.Addr{netip.MustParseAddr("192.168.9.1"), netip.MustParseAddr("192.168.9.2")}
}

// podRanges are the ranges of a node's pods.
func podRanges(number int) []netip.Prefix {
	return [][]netip.Prefix{
		{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		{netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("fd00:2::/64")},
	}[number-1]
}

// cluster is two nodes with one pod each, identities 1001 and 1002.
type cluster struct {
	nodes [2]*node
	pods  [2]*pod
	cards [2]netlink.Link
	// tunnels are the numbers of the tunnel devices, 0 where there is none.
	tunnels [2]int
}

// road is a way between nodes.
type road struct {
	config loader.Config
	// v6: the tunnel runs over IPv6.
	v6 bool
	// device: nothing but the tunnel device writes tunnel frames.
	device bool
}

// newCluster joins two nodes by a wire, and by a tunnel or by routes.
func newCluster(t testing.TB, r road, podMTU int) *cluster {
	t.Helper()
	cfg := r.config
	cfg.TunnelPort = tunnelPort
	c := &cluster{}
	for i := range c.nodes {
		c.nodes[i] = newNode(t, i+1, cfg)
	}
	// The tunnel needs room on the wire; native packets need none.
	cardMTU := deviceMTU
	if cfg.Native {
		cardMTU = podMTU
	}
	c.wire(t, cardMTU)
	for i, n := range c.nodes {
		if cfg.Native {
			c.route(t, i)
		} else {
			c.tunnels[i] = n.addTunnel(t, podRanges(2-i))
		}
		card := c.cards[i].Attrs().Index
		n.do(t, func() error { return n.objects.AttachNetdev(card) })
		must(t, n.maps.SyncCards([]maps.Card{{Index: card, Direct: true}}))
		c.setNode(t, i, !r.device)
		must(t, n.maps.SyncIdentities([]datapath.Identity{1001, 1002}))
		c.pods[i] = n.addPod(t, datapath.Identity(1001+i), podMTU)
	}
	t.Cleanup(func() { c.report(t) })
	for i, n := range c.nodes {
		must(t, n.maps.PutRoutes(c.routes(i, underlays(r.v6)[1-i])))
	}
	return c
}

// setNode writes what programs know of node i.
func (c *cluster) setNode(t testing.TB, i int, encapsulate bool) {
	t.Helper()
	must(t, c.nodes[i].maps.SetNode(maps.NodeConfig{
		TunnelIfindex: c.tunnels[i], MTU: pathMTU, Routers: c.nodes[i].routers, Encapsulate: encapsulate,
		Addrs: []netip.Addr{underlays(false)[i], underlays(true)[i]},
	}))
}

// wire connects the two nodes' cards.
func (c *cluster) wire(t testing.TB, mtu int) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "eth0", mtu
	must(t, c.nodes[0].link.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(c.nodes[1].handle), PeerMTU: uint32(mtu),
	}))
	for i, n := range c.nodes {
		card, err := n.link.LinkByName("eth0")
		must(t, err)
		c.cards[i] = card
		// The first address is the one that the kernel would choose, and nobody knows.
		unlisted := netip.MustParseAddr(fmt.Sprintf("192.168.9.%d", 100+i))
		for _, a := range []netip.Addr{unlisted, underlays(false)[i], underlays(true)[i]} {
			bits := a.BitLen() - 8
			with := address(a)
			with.IPNet = network(netip.PrefixFrom(a, bits))
			must(t, n.link.AddrAdd(card, with))
		}
		must(t, n.link.LinkSetUp(card))
	}
	for i, n := range c.nodes {
		n.awaitLocal(t, underlays(true)[i])
	}
}

// addTunnel makes the tunnel device and leads the other node's pods into it.
func (n *node) addTunnel(t testing.TB, ranges []netip.Prefix) int {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "cilium_vxlan", pathMTU
	must(t, n.link.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, FlowBased: true, Port: tunnelPort}))
	tunnel, err := n.link.LinkByName("cilium_vxlan")
	must(t, err)
	n.do(t, func() error { return n.objects.AttachOverlay(tunnel.Attrs().Index) })
	must(t, n.link.LinkSetARPOff(tunnel))
	must(t, n.link.LinkSetUp(tunnel))
	for i, r := range ranges {
		must(t, n.link.RouteAdd(&netlink.Route{
			LinkIndex: tunnel.Attrs().Index, Dst: network(r), Src: n.routers[i].AsSlice(), Scope: netlink.SCOPE_LINK,
		}))
	}
	return tunnel.Attrs().Index
}

// route leads to the other node's pods over its card.
func (c *cluster) route(t testing.TB, i int) {
	t.Helper()
	for family, r := range podRanges(2 - i) {
		via := underlays(family == 1)[1-i]
		must(t, c.nodes[i].link.RouteAdd(&netlink.Route{
			LinkIndex: c.cards[i].Attrs().Index, Dst: network(r), Gw: via.AsSlice(), Src: c.nodes[i].routers[family].AsSlice(),
		}))
	}
}

// routes is what node i knows: itself, and the other node with its ranges, router addresses and pod.
func (c *cluster) routes(i int, other netip.Addr) []datapath.Route {
	var out []datapath.Route
	for _, r := range podRanges(i + 1) {
		out = append(out, datapath.Route{Prefix: r})
	}
	for family := range 2 {
		out = append(out,
			datapath.Route{Prefix: full(underlays(family == 1)[i]), Identity: 1},
			datapath.Route{Prefix: full(underlays(family == 1)[1-i]), Identity: 6, Node: other},
			datapath.Route{Prefix: podRanges(2 - i)[family], Node: other},
			datapath.Route{Prefix: full(c.nodes[1-i].routers[family]), Identity: 6, Node: other},
			datapath.Route{
				Prefix: full(c.pods[1-i].endpoint.Addrs[family]), Identity: c.pods[1-i].endpoint.Identity, Node: other,
			},
		)
	}
	return out
}

// report says what was counted, when the test has failed.
func (c *cluster) report(t testing.TB) {
	if !t.Failed() {
		return
	}
	for i, n := range c.nodes {
		counts, err := n.maps.Counts()
		t.Logf("node %d: %v %v", i+1, counts, err)
	}
}

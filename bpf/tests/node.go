//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// node is a namespace that plays a node: programs loaded, router addresses on its loopback.
type node struct {
	*namespace
	objects *loader.Objects
	maps    *maps.Maps
	routers []netip.Addr
	pods    int
}

// pod is a namespace behind a device of a node.
type pod struct {
	*namespace
	endpoint datapath.Endpoint
	ifc      datapath.Interface
	// device is eth0 inside.
	device netlink.Link
}

// bpffs mounts a bpf file system for one test.
func bpffs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// load loads the programs inside a namespace.
func load(t testing.TB, in *namespace, cfg loader.Config, dir string) *loader.Objects {
	t.Helper()
	var objects *loader.Objects
	in.do(t, func() (err error) {
		objects, err = loader.Load(cfg, dir)
		return err
	})
	t.Cleanup(func() {
		if err := objects.Close(); err != nil {
			t.Error(err)
		}
	})
	return objects
}

// newNode makes a node with the router addresses 10.0.<number>.1 and fd00:<number>::1.
func newNode(t testing.TB, number int, cfg loader.Config) *node {
	t.Helper()
	n := &node{namespace: newNamespace(t)}
	n.objects = load(t, n.namespace, cfg, bpffs(t))
	n.maps = n.objects.Maps()
	n.routers = []netip.Addr{
		netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", number)), netip.MustParseAddr(fmt.Sprintf("fd00:%d::1", number)),
	}
	lo, err := n.link.LinkByName("lo")
	must(t, err)
	for _, a := range n.routers {
		must(t, n.link.AddrAdd(lo, address(a)))
		must(t, n.maps.PutRoutes([]datapath.Route{{Prefix: full(a), Identity: 1}}))
	}
	return n
}

// addPod makes a pod with the node's next addresses and brings it up.
func (n *node) addPod(t testing.TB, identity datapath.Identity, mtu int) *pod {
	t.Helper()
	p := n.makePod(t, identity, mtu)
	host, err := n.link.LinkByIndex(p.ifc.HostIndex)
	must(t, err)
	must(t, n.link.LinkSetUp(host))
	for i, a := range p.endpoint.Addrs {
		p.awaitLocal(t, a)
		must(t, n.link.NeighSet(&netlink.Neigh{
			LinkIndex: p.ifc.HostIndex, IP: a.AsSlice(), HardwareAddr: p.ifc.MAC, State: netlink.NUD_PERMANENT,
		}))
		must(t, n.link.RouteAdd(&netlink.Route{
			LinkIndex: p.ifc.HostIndex, Dst: network(full(a)), Src: n.routers[i].AsSlice(), Scope: netlink.SCOPE_LINK,
		}))
	}
	return p
}

// makePod makes a pod whose host-side device is still down: nothing moves but what a test sends.
func (n *node) makePod(t testing.TB, identity datapath.Identity, mtu int) *pod {
	t.Helper()
	n.pods++
	p := &pod{namespace: newNamespace(t)}
	p.endpoint = datapath.Endpoint{ID: uint16(n.pods), Identity: identity, Gateways: n.routers}
	for _, router := range n.routers {
		a := router
		for range n.pods {
			a = a.Next()
		}
		p.endpoint.Addrs = append(p.endpoint.Addrs, a)
	}
	n.connect(t, p, fmt.Sprintf("lxc%d", n.pods), mtu)
	must(t, n.maps.PutEndpoint(p.endpoint, p.ifc))
	for _, a := range p.endpoint.Addrs {
		must(t, n.maps.PutRoutes([]datapath.Route{{Prefix: full(a), Identity: identity}}))
	}
	_, err := n.objects.AttachPod(p.ifc.HostIndex)
	must(t, err)
	return p
}

// connect makes the pair of devices and the pod's side of routing, as link.Veth does.
func (n *node) connect(t testing.TB, p *pod, name string, mtu int) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	must(t, n.link.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.handle)}))
	host, err := n.link.LinkByName(name)
	must(t, err)
	n.do(t, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/addr_gen_mode", []byte("1"), 0o644)
	})
	p.device, err = p.link.LinkByName("eth0")
	must(t, err)
	must(t, p.link.LinkSetMTU(p.device, mtu))
	p.ifc = datapath.Interface{
		HostIndex: host.Attrs().Index, MAC: p.device.Attrs().HardwareAddr, HostMAC: host.Attrs().HardwareAddr, MTU: mtu,
	}
	for _, a := range p.endpoint.Addrs {
		must(t, p.link.AddrAdd(p.device, address(a)))
	}
	must(t, p.link.LinkSetUp(p.device))
	for _, gateway := range n.routers {
		must(t, p.link.RouteAdd(&netlink.Route{
			LinkIndex: p.device.Attrs().Index, Dst: network(full(gateway)), Scope: netlink.SCOPE_LINK,
		}))
		must(t, p.link.RouteAdd(&netlink.Route{LinkIndex: p.device.Attrs().Index, Gw: gateway.AsSlice()}))
	}
}

func full(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// address is for a device; an IPv6 address is usable at once.
func address(a netip.Addr) *netlink.Addr {
	out := &netlink.Addr{IPNet: network(full(a))}
	if a.Is6() {
		out.Flags = unix.IFA_F_NODAD
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"net/netip"
	"slices"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
)

// wantRoutes are the node's ways to the pods of other nodes. Its own pods have one route each; the rest of its range
// leads nowhere, so that nobody waits for an address that no pod has, and no packet leaves by the default route.
func (d *Datapath) wantRoutes(n *node, tunnel int) ([]link.Route, error) {
	var routes []link.Route
	for _, cidr := range n.PodCIDRs {
		routes = append(routes, link.Route{Dst: cidr})
	}
	if !d.cfg.Native {
		return append(routes, tunnelRoutes(n.Node, tunnel)...), nil
	}
	for _, peer := range n.Peers {
		native, err := d.nativeRoutes(peer)
		if err != nil {
			return nil, err
		}
		routes = append(routes, native...)
	}
	return routes, nil
}

// tunnelRoutes lead to the tunnel device, which knows the node behind each address. Replies come to the router address,
// so that they travel through the tunnel as well.
func tunnelRoutes(n datapath.Node, tunnel int) []link.Route {
	var routes []link.Route
	for _, peer := range n.Peers {
		for _, cidr := range peer.PodCIDRs {
			routes = append(routes, link.Route{Dst: cidr, Device: tunnel, Src: sameFamily(n.Routers, cidr.Addr())})
		}
		for _, router := range peer.Routers {
			if !contains(peer.PodCIDRs, router) {
				dst := netip.PrefixFrom(router, router.BitLen())
				routes = append(routes, link.Route{Dst: dst, Device: tunnel, Src: sameFamily(n.Routers, router)})
			}
		}
	}
	return routes
}

// nativeRoutes lead to the peer itself, where it is a neighbour; where a router lies between, the routers must know.
func (d *Datapath) nativeRoutes(peer datapath.Peer) ([]link.Route, error) {
	var routes []link.Route
	for _, cidr := range peer.PodCIDRs {
		via := sameFamily(peer.Addrs, cidr.Addr())
		if !via.IsValid() {
			continue
		}
		device, err := d.links.DirectDevice(via)
		if err != nil {
			return nil, err
		}
		if device != 0 {
			routes = append(routes, link.Route{Dst: cidr, Device: device, Via: via})
		}
	}
	return routes, nil
}

// repairEndpoints puts back the routes of endpoints: the kernel drops them when the router address changes.
func (d *Datapath) repairEndpoints(n *node) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var want []link.Route
	for _, made := range d.endpoints {
		want = append(want, endpointRoutes(n, made.endpoint, made.ifc)...)
	}
	return d.links.AddEndpointRoutes(want)
}

func endpointRoutes(n *node, ep datapath.Endpoint, ifc datapath.Interface) []link.Route {
	var routes []link.Route
	for _, addr := range ep.Addrs {
		routes = append(routes, link.Route{
			Dst:    netip.PrefixFrom(addr, addr.BitLen()),
			Device: ifc.HostIndex,
			Src:    sameFamily(n.Routers, addr),
		})
	}
	return routes
}

// sameFamily is the first address of the family of another; invalid if there is none.
func sameFamily(addrs []netip.Addr, like netip.Addr) netip.Addr {
	i := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Is4() == like.Is4() })
	if i < 0 {
		return netip.Addr{}
	}
	return addrs[i]
}

func contains(cidrs []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(cidrs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

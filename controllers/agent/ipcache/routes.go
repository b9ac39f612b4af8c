// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipcache

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/translate"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/identity"
)

// here is this node, from which all routes start.
type here struct {
	name  string
	addrs []netip.Addr
}

// via is the underlay address of another node: in the family that both have, IPv4 first, so that both ends of a tunnel
// choose the same. Invalid for this node itself.
func (h here) via(peer dp.Peer) netip.Addr {
	if peer.Name == h.name {
		return netip.Addr{}
	}
	for _, is := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		i := slices.IndexFunc(peer.Addrs, is)
		if i >= 0 && slices.ContainsFunc(h.addrs, is) {
			return peer.Addrs[i]
		}
	}
	return netip.Addr{}
}

// nodeRoutes are the rows of a node: its addresses and router addresses are the host's or a remote node's; its pod CIDRs
// have no identity, so that an address which no endpoint has shown yet is known to be a pod's. A node that cannot be
// reached has none.
func (h here) nodeRoutes(node *v1alpha1.CiliumNode) []dp.Route {
	peer := translate.Peer(node)
	number, via := dp.Identity(identity.RemoteNode), h.via(peer)
	switch {
	case peer.Name == h.name:
		number = dp.Identity(identity.Host)
	case !via.IsValid():
		return nil
	}
	var routes []dp.Route
	for _, addr := range slices.Concat(peer.Addrs, peer.Routers) {
		routes = append(routes, dp.Route{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Identity: number, Node: via})
	}
	for _, cidr := range peer.PodCIDRs {
		routes = append(routes, dp.Route{Prefix: cidr, Node: via})
	}
	return routes
}

// endpointRoutes are the rows of an endpoint: those of its addresses that lie in its node's pool. An endpoint that the
// operator calls untrusted has none, and no endpoint is anything but a pod.
func (h here) endpointRoutes(cep *v1alpha1.CiliumEndpoint, node *v1alpha1.CiliumNode) []dp.Route {
	id := cep.Status.Identity
	if id == nil || !isPod(id.Number) || meta.IsStatusConditionTrue(cep.Status.Conditions, v1alpha1.ConditionUntrusted) {
		return nil
	}
	peer := translate.Peer(node)
	via := h.via(peer)
	if peer.Name != h.name && !via.IsValid() {
		return nil
	}
	var routes []dp.Route
	for _, a := range cep.Status.Addresses {
		addr, err := netip.ParseAddr(a.IP)
		if err != nil || slices.Contains(peer.Routers, addr) || !contains(peer.PodCIDRs, addr) {
			continue
		}
		routes = append(routes, dp.Route{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Identity: dp.Identity(id.Number), Node: via})
	}
	return routes
}

// isPod tells whether a number is one that the operator gives to pods.
func isPod(number int64) bool {
	return number >= int64(identity.MinAllocated) && number <= int64(identity.MaxAllocated)
}

func contains(cidrs []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(cidrs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

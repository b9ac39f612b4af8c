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

// nodeRoutes are the rows of a node: its addresses and router addresses are the host's or a remote node's; its pod CIDRs
// have no identity, so that an address which no endpoint has shown yet is known to be a pod's.
func nodeRoutes(node *v1alpha1.CiliumNode, own bool) []dp.Route {
	peer := translate.Peer(node)
	number, via := dp.Identity(identity.RemoteNode), underlay(peer.Addrs)
	if own {
		number, via = dp.Identity(identity.Host), netip.Addr{}
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
// operator calls untrusted has none.
func endpointRoutes(cep *v1alpha1.CiliumEndpoint, node *v1alpha1.CiliumNode, own bool) []dp.Route {
	if cep.Status.Identity == nil || meta.IsStatusConditionTrue(cep.Status.Conditions, v1alpha1.ConditionUntrusted) {
		return nil
	}
	peer := translate.Peer(node)
	via := underlay(peer.Addrs)
	if own {
		via = netip.Addr{}
	}
	var routes []dp.Route
	for _, a := range cep.Status.Addresses {
		addr, err := netip.ParseAddr(a.IP)
		if err != nil || slices.Contains(peer.Routers, addr) || !contains(peer.PodCIDRs, addr) {
			continue
		}
		routes = append(routes, dp.Route{
			Prefix: netip.PrefixFrom(addr, addr.BitLen()), Identity: dp.Identity(cep.Status.Identity.Number), Node: via,
		})
	}
	return routes
}

func contains(cidrs []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(cidrs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// underlay is the address to which tunnels to a node go: its first.
func underlay(addrs []netip.Addr) netip.Addr {
	if len(addrs) == 0 {
		return netip.Addr{}
	}
	return addrs[0]
}

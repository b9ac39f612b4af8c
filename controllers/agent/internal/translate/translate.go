// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package translate turns the API's words about nodes into the datapath's.
package translate

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// Peer is a node as others see it, its internal addresses first: tunnels end there. What does not parse is left out: the
// API checks formats.
func Peer(node *v1alpha1.CiliumNode) dp.Peer {
	peer := dp.Peer{Name: node.Name, PodCIDRs: PodCIDRs(node)}
	addresses := slices.Clone(node.Spec.Addresses)
	slices.SortStableFunc(addresses, func(a, b v1alpha1.NodeAddress) int { return cmp.Compare(rank(a), rank(b)) })
	for _, a := range addresses {
		if addr, err := netip.ParseAddr(a.IP); err == nil {
			peer.Addrs = append(peer.Addrs, addr)
		}
	}
	peer.Routers = Routers(peer.PodCIDRs)
	return peer
}

func rank(a v1alpha1.NodeAddress) int {
	if a.Type == string(corev1.NodeInternalIP) {
		return 0
	}
	return 1
}

// PodCIDRs are the ranges of a node's pods.
func PodCIDRs(node *v1alpha1.CiliumNode) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range node.Spec.IPAM.PodCIDRs {
		if prefix, err := netip.ParsePrefix(c); err == nil {
			out = append(out, prefix)
		}
	}
	return out
}

// Routers are the router addresses that go with ranges: of each family the one of its first range, IPv4 first.
func Routers(cidrs []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, want6 := range []bool{false, true} {
		for _, cidr := range cidrs {
			if cidr.Addr().Is6() == want6 {
				out = append(out, ipam.Router(cidr))
				break
			}
		}
	}
	return out
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package translate turns the API's words about nodes into the datapath's.
package translate

import (
	"net/netip"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// Peer is a node as others see it. What does not parse is left out: the API checks formats.
func Peer(node *v1alpha1.CiliumNode) dp.Peer {
	peer := dp.Peer{Name: node.Name, PodCIDRs: PodCIDRs(node)}
	for _, a := range node.Spec.Addresses {
		if addr, err := netip.ParseAddr(a.IP); err == nil {
			peer.Addrs = append(peer.Addrs, addr)
		}
	}
	peer.Routers = Routers(peer.PodCIDRs)
	return peer
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

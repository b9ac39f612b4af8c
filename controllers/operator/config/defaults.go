// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package config

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// The pools of a cluster whose user has not said anything: 4096 nodes of 253 pods, 65536 nodes of 65534.
const (
	defaultIPv4CIDR = "10.208.0.0/12"
	defaultIPv4Mask = 24
	defaultIPv6CIDR = "fd00:10:208::/96"
	defaultIPv6Mask = 112
)

// defaults is the configuration for nodes of these address families; there is none without an address.
func defaults(nodes []corev1.Node) (v1alpha1.CiliumConfigSpec, bool) {
	families := map[ipam.Family]bool{}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
				families[ipam.FamilyOf(ip)] = true
			}
		}
	}
	spec := v1alpha1.CiliumConfigSpec{IPAM: v1alpha1.IPAMConfig{Mode: v1alpha1.IPAMClusterPool}}
	if families[ipam.IPv4] {
		spec.IPAM.IPv4 = &v1alpha1.ClusterPool{CIDRs: []string{defaultIPv4CIDR}, MaskSize: defaultIPv4Mask}
	}
	if families[ipam.IPv6] {
		spec.IPAM.IPv6 = &v1alpha1.ClusterPool{CIDRs: []string{defaultIPv6CIDR}, MaskSize: defaultIPv6Mask}
	}
	return spec, len(families) > 0
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package config

import (
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// validity says whether the configuration makes sense for this cluster, by the first thing that does not.
func validity(cfg *v1alpha1.CiliumConfig, c cluster) metav1.Condition {
	invalid := func(reason, message string) metav1.Condition {
		return metav1.Condition{
			Type: v1alpha1.ConditionValid, Status: metav1.ConditionFalse, Reason: reason, Message: message,
		}
	}
	pools, err := poolCIDRs(&cfg.Spec.IPAM)
	if err != nil {
		return invalid(v1alpha1.ReasonInvalidConfig, err.Error())
	}
	if message := overlap(pools, c); message != "" {
		return invalid(v1alpha1.ReasonOverlap, message)
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionValid, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonValid,
		Message: "Nothing contradicts",
	}
}

// poolCIDRs are the CIDRs of all pools. The API server refuses most of what is wrong with them; this says the rest.
func poolCIDRs(spec *v1alpha1.IPAMConfig) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, pool := range []*v1alpha1.ClusterPool{spec.IPv4, spec.IPv6} {
		if pool == nil {
			continue
		}
		cidrs, err := translate.Prefixes(pool.CIDRs)
		if err != nil {
			return nil, err
		}
		if _, err := ipam.NewClusterPool(cidrs, int(pool.MaskSize)); err != nil {
			return nil, err
		}
		all = append(all, cidrs...)
	}
	return all, nil
}

// overlap is the first thing that shares an address with a pool or with a node's range.
func overlap(pools []netip.Prefix, c cluster) string {
	for _, pool := range pools {
		for i := range c.nodes {
			for _, a := range translate.NodeAddresses(&c.nodes[i]) {
				if pool.Contains(netip.MustParseAddr(a.IP)) {
					return fmt.Sprintf("the pool %s contains the address %s of node %s", pool, a.IP, c.nodes[i].Name)
				}
			}
		}
		for _, s := range c.services {
			for _, cidr := range s.Spec.CIDRs {
				if p, err := netip.ParsePrefix(cidr); err == nil && p.Overlaps(pool) {
					return fmt.Sprintf("the pool %s overlaps the range %s of Services (ServiceCIDR %s)", pool, p, s.Name)
				}
			}
		}
	}
	return rangesOverlap(c.ciliumNodes)
}

// rangesOverlap compares the ranges of all nodes with each other.
func rangesOverlap(nodes []v1alpha1.CiliumNode) string {
	holders := map[netip.Prefix]string{}
	var all []netip.Prefix
	for _, n := range nodes {
		ranges, err := translate.Prefixes(n.Spec.IPAM.PodCIDRs)
		if err != nil {
			return fmt.Sprintf("node %s: %s", n.Name, err)
		}
		for _, r := range ranges {
			if other, taken := holders[r]; taken {
				return fmt.Sprintf("nodes %s and %s have the same range %s", other, n.Name, r)
			}
			holders[r] = n.Name
			all = append(all, r)
		}
	}
	if a, b, found := ipam.Overlaps(all); found {
		return fmt.Sprintf("the range %s of node %s overlaps %s of node %s", a, holders[a], b, holders[b])
	}
	return ""
}

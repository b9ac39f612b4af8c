// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package translate puts API objects into the words of the packages that think: prefixes and addresses for ipam, pods
// and filters for identity.
package translate

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/identity"
)

// Prefixes parses CIDRs, which must have no host bits.
func Prefixes(cidrs []string) ([]netip.Prefix, error) {
	list := make([]netip.Prefix, 0, len(cidrs))
	for _, s := range cidrs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("parse the CIDR %q: %w", s, err)
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("the CIDR %s has host bits", s)
		}
		list = append(list, p)
	}
	return list, nil
}

// NodeAddresses are the IP addresses of a Node that other nodes can use, InternalIPs first.
func NodeAddresses(node *corev1.Node) []v1alpha1.NodeAddress {
	var list []v1alpha1.NodeAddress
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			if _, err := netip.ParseAddr(a.Address); a.Type == kind && err == nil {
				list = append(list, v1alpha1.NodeAddress{Type: string(kind), IP: a.Address})
			}
		}
	}
	return list
}

// Pod is what the identity of a pod depends on.
func Pod(pod *corev1.Pod) identity.Pod {
	return identity.Pod{Namespace: pod.Namespace, ServiceAccount: pod.Spec.ServiceAccountName, Labels: pod.Labels}
}

// HasIdentity tells whether a pod is one to which the network gives an identity: one with a network of its own that has
// not ended.
func HasIdentity(pod *corev1.Pod) bool {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	return !pod.Spec.HostNetwork && !ended
}

// Filter is the label filter in force.
func Filter(f *v1alpha1.IdentityFilter) identity.Filter {
	return identity.Filter{ClusterName: f.ClusterName, Include: f.Include, Exclude: f.Exclude}
}

// WantedFilter is the label filter that the configuration asks for.
func WantedFilter(spec *v1alpha1.CiliumConfigSpec) identity.Filter {
	f := identity.Filter{
		ClusterName: spec.ClusterName,
		Include:     slices.Sorted(slices.Values(spec.Identity.IncludeLabels)),
		Exclude:     slices.Sorted(slices.Values(spec.Identity.ExcludeLabels)),
	}
	if len(f.Include) == 0 {
		f.Exclude = append(identity.Volatile(), f.Exclude...)
	}
	return f
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// fromNode takes the ranges of Node.spec.podCIDRs.
func (r *Reconciler) fromNode(ctx context.Context, cn *v1alpha1.CiliumNode) ([]string, *refusal, error) {
	node := &corev1.Node{}
	err := r.client.Get(ctx, client.ObjectKey{Name: cn.Name}, node)
	if apierrors.IsNotFound(err) {
		return cn.Spec.IPAM.PodCIDRs, nil, nil // Both go; the garbage collector is on its way.
	}
	if err != nil {
		return nil, nil, fmt.Errorf("get the Node: %w", err)
	}
	if len(node.Spec.PodCIDRs) == 0 {
		return nil, &refusal{
			v1alpha1.ReasonNoPodCIDR,
			"Node.spec.podCIDRs is empty: does the controller-manager run with --allocate-node-cidrs?",
		}, nil
	}
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes); err != nil {
		return nil, nil, fmt.Errorf("list the Nodes: %w", err)
	}
	ranges, refused := check(node, nodes.Items)
	return ranges, refused, nil
}

// check parses the ranges of a node and holds them against all nodes.
func check(node *corev1.Node, nodes []corev1.Node) ([]string, *refusal) {
	ranges, err := translate.Prefixes(node.Spec.PodCIDRs)
	if err != nil {
		return nil, &refusal{v1alpha1.ReasonInvalidPodCIDR, "Node.spec.podCIDRs: " + err.Error()}
	}
	if message := contradiction(node.Name, ranges, nodes); message != "" {
		return nil, &refusal{v1alpha1.ReasonInvalidPodCIDR, message}
	}
	return prefixStrings(ranges), nil
}

// contradiction is what speaks against the ranges of a node in mode kubernetes: an address of a node inside of them, or
// another node's range.
func contradiction(name string, ranges []netip.Prefix, nodes []corev1.Node) string {
	if a, b, found := ipam.Overlaps(ranges); found {
		return fmt.Sprintf("Node.spec.podCIDRs: %s overlaps %s", a, b)
	}
	for i := range nodes {
		other := &nodes[i]
		for _, r := range ranges {
			for _, a := range translate.NodeAddresses(other) {
				if r.Contains(netip.MustParseAddr(a.IP)) {
					return fmt.Sprintf("the range %s contains the address %s of node %s", r, a.IP, other.Name)
				}
			}
			for _, s := range other.Spec.PodCIDRs {
				if p, err := netip.ParsePrefix(s); err == nil && other.Name != name && p.Overlaps(r) {
					return fmt.Sprintf("the range %s overlaps %s of node %s", r, p, other.Name)
				}
			}
		}
	}
	return ""
}

// prefixStrings are prefixes as the API has them.
func prefixStrings(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return out
}

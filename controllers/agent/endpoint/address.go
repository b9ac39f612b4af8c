// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// address claims one address of each family of the node's pool, and the endpoint's number.
func (r *Reconciler) address(_ context.Context, a *attachment) (wait, error) {
	routers := r.Node.Routers()
	if len(routers) == 0 {
		return a.waits(v1alpha1.ConditionAddressAssigned, v1alpha1.ReasonWaitingForPool,
			fmt.Sprintf("Node %s has no pod CIDR yet: see condition PoolAssigned of ciliumnode %s", r.NodeName, r.NodeName)), nil
	}
	r.attachments.number(a)
	a.undone = false
	a.ep.Addrs, a.ep.Gateways = nil, nil
	for _, router := range routers {
		addr, err := r.Addresses.Claim(a.ep.UID, ipam.FamilyOf(router))
		if a.starved.Store(errors.Is(err, ipam.ErrExhausted)); a.starved.Load() {
			message := fmt.Sprintf("No %s address is left on node %s", family(router), r.NodeName)
			r.Recorder.Eventf(a.cep, nil, corev1.EventTypeWarning, v1alpha1.EventPoolExhausted, "Attach", "%s", message)
			return a.waits(v1alpha1.ConditionAddressAssigned, v1alpha1.ReasonPoolExhausted, message), nil
		}
		if err != nil {
			return wait{}, fmt.Errorf("claim an %s address: %w", family(router), err)
		}
		a.ep.Addrs = append(a.ep.Addrs, addr)
		a.ep.Gateways = append(a.ep.Gateways, router)
	}
	a.status.Addresses = endpointAddresses(a.ep.Addrs, a.ep.Gateways)
	a.set(v1alpha1.ConditionAddressAssigned, true, v1alpha1.ReasonAssigned, "Address "+joinAddrs(a.ep.Addrs))
	return wait{}, nil
}

func endpointAddresses(addrs, gateways []netip.Addr) []v1alpha1.EndpointAddress {
	out := make([]v1alpha1.EndpointAddress, len(addrs))
	for i, addr := range addrs {
		out[i] = v1alpha1.EndpointAddress{Family: family(addr), IP: addr.String(), Gateway: gateways[i].String()}
	}
	return out
}

func family(addr netip.Addr) v1alpha1.AddressFamily {
	if addr.Is4() {
		return v1alpha1.IPv4
	}
	return v1alpha1.IPv6
}

func joinAddrs(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	return strings.Join(words, " and ")
}

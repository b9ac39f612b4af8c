// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"net/netip"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/status"
)

// fieldOwner is the agent's name in managedFields.
const fieldOwner = client.FieldOwner("cilium-agent")

// applyStatus writes the status if it differs from the object's. It carries the resourceVersion of the object that was
// reconciled: an object of the same name that came since is not written (409, reconcile again).
func (r *Reconciler) applyStatus(ctx context.Context, a *attachment) error {
	if equality.Semantic.DeepEqual(*a.status, a.cep.Status) {
		return nil
	}
	config := ac.CiliumEndpoint(a.cep.Name, a.cep.Namespace).
		WithResourceVersion(a.cep.ResourceVersion).
		WithStatus(statusConfig(a.status))
	// An object that is gone needs no status: its own event brings it here.
	return client.IgnoreNotFound(r.Client.Status().Apply(ctx, config, fieldOwner, client.ForceOwnership))
}

// statusConfig holds the agent's part of s alone: the operator's conditions are left out.
func statusConfig(s *v1alpha1.CiliumEndpointStatus) *ac.CiliumEndpointStatusApplyConfiguration {
	out := ac.CiliumEndpointStatus().
		WithObservedGeneration(s.ObservedGeneration).
		WithPodUID(s.PodUID).
		WithContainerID(s.ContainerID).
		WithConditions(status.Conditions(s.Conditions, func(c metav1.Condition) bool { return c.Type != v1alpha1.ConditionUntrusted })...)
	if s.MirrorPodUID != "" {
		out.WithMirrorPodUID(s.MirrorPodUID)
	}
	if s.EndpointID != 0 {
		out.WithEndpointID(s.EndpointID)
	}
	if id := s.Identity; id != nil {
		out.WithIdentity(ac.EndpointIdentity().WithNumber(id.Number).WithLabels(id.Labels...))
	}
	for _, addr := range s.Addresses {
		out.WithAddresses(ac.EndpointAddress().WithFamily(addr.Family).WithIP(addr.IP).WithGateway(addr.Gateway))
	}
	if i := s.Interface; i != nil {
		out.WithInterface(ac.EndpointInterface().WithHostName(i.HostName).WithHostIndex(i.HostIndex).
			WithMAC(i.MAC).WithHostMAC(i.HostMAC).WithMTUBytes(i.MTUBytes))
	}
	return out
}

// addrsOf are the addresses in the object's status; what does not parse is left out (the API checks the format).
func addrsOf(cep *v1alpha1.CiliumEndpoint) []netip.Addr {
	var out []netip.Addr
	for _, a := range cep.Status.Addresses {
		if addr, err := netip.ParseAddr(a.IP); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"net/netip"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// fieldOwner is the agent's name in managedFields.
const fieldOwner = client.FieldOwner("cilium-agent")

// writeStatus writes the status if it differs from the object's: whole, with the operator's condition as it was read. The
// resourceVersion is that of the object which was reconciled, so a verdict or an object of the same name that came since is
// not overwritten (409, reconcile again).
func (r *Reconciler) writeStatus(ctx context.Context, a *attachment) error {
	if equality.Semantic.DeepEqual(*a.status, a.cep.Status) {
		return nil
	}
	cep := a.cep.DeepCopy()
	cep.Status = *a.status
	// An object that is gone needs no status: its own event brings it here.
	return client.IgnoreNotFound(r.Client.Status().Update(ctx, cep, fieldOwner))
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

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// Restore takes over what an earlier agent left: the addresses and numbers of this node's endpoints, from the objects and
// from what the kernel shows. What the kernel has and no object or pod knows is removed. The caches must have synced
// and the pools be set. Nothing may be attached before. It may be called again when it failed.
func (r *Reconciler) Restore(ctx context.Context) error {
	list := &v1alpha1.CiliumEndpointList{}
	if err := r.Client.List(ctx, list); err != nil {
		return err
	}
	observed, err := r.Datapath.Endpoints(ctx)
	if err != nil {
		return fmt.Errorf("list what the kernel has: %w", err)
	}
	inKernel := make(map[string]dp.Observed, len(observed))
	for _, o := range observed {
		inKernel[o.UID] = o
	}
	// The objects first, then the kernel: an agent that was killed before its write to an object has left a claim there.
	for i := range list.Items {
		r.adopt(ctx, &list.Items[i], addrsOf(&list.Items[i]))
	}
	known := make(map[string]bool, len(list.Items))
	for i := range list.Items {
		uid := string(list.Items[i].UID)
		known[uid] = true
		if o, found := inKernel[uid]; found {
			r.adoptKernel(ctx, &list.Items[i], o)
		}
	}
	ctrl.LoggerFrom(ctx).Info("Took over endpoints", "objects", len(list.Items), "served", r.Attached())
	return r.restoreStrays(ctx, slices.DeleteFunc(observed, func(o dp.Observed) bool { return known[o.UID] }))
}

// adopt makes the reconciler know an endpoint with the number in its status, and have it hold addrs.
func (r *Reconciler) adopt(ctx context.Context, cep *v1alpha1.CiliumEndpoint, addrs []netip.Addr) {
	a := r.attachments.ensure(cep, r.Clock.Now())
	r.attachments.reserve(a.ep.ID, a.cepUID)
	for _, addr := range addrs {
		if err := r.Addresses.Adopt(a.ep.UID, addr); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Adopting an address", "CiliumEndpoint", a.name.String())
		}
	}
}

// adoptKernel completes an endpoint by what the kernel shows of it.
func (r *Reconciler) adoptKernel(ctx context.Context, cep *v1alpha1.CiliumEndpoint, o dp.Observed) {
	a := r.attachments.ensure(cep, r.Clock.Now())
	a.ep.ID = cmp.Or(a.ep.ID, o.ID)
	if len(a.ep.Addrs) == 0 {
		a.ep.Addrs = o.Addrs
	}
	r.adopt(ctx, cep, a.ep.Addrs)
	// A device without entries was left half made: it is not what a pod was told to use.
	a.served.Store(len(o.Addrs) > 0)
}

// Serve lets the reconciler work and wakes every endpoint of the node. Only after Restore.
func (r *Reconciler) Serve(ctx context.Context) error {
	r.attachments.serve()
	return r.WakeAll(ctx)
}

// WakeAll reconciles every endpoint of the node, those too whose object went away meanwhile: something that concerns all
// of them changed.
func (r *Reconciler) WakeAll(ctx context.Context) error {
	list := &v1alpha1.CiliumEndpointList{}
	if err := r.Client.List(ctx, list); err != nil {
		return err
	}
	names := map[types.NamespacedName]bool{}
	for i := range list.Items {
		names[types.NamespacedName{Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}] = true
	}
	for _, a := range r.attachments.all() {
		names[a.name] = true
	}
	for name := range names {
		r.wakeName(ctx, name)
	}
	return ctx.Err()
}

// wakeName reconciles one endpoint soon.
func (r *Reconciler) wakeName(ctx context.Context, name types.NamespacedName) {
	object := &v1alpha1.CiliumEndpoint{}
	object.Namespace, object.Name = name.Namespace, name.Name
	select {
	case r.wake <- event.GenericEvent{Object: object}:
	case <-ctx.Done():
	}
}

// Attached is the number of endpoints that the agent serves.
func (r *Reconciler) Attached() int {
	n := 0
	for _, a := range r.attachments.all() {
		if a.served.Load() {
			n++
		}
	}
	return n
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// Restore takes over what an earlier agent left: the addresses and numbers of this node's endpoints, from the objects and
// from what the kernel shows. What the kernel has and no object or pod knows is removed. The caches must have synced
// and the pools be set. Nothing may be attached before.
func (r *Reconciler) Restore(ctx context.Context) error {
	list := &v1alpha1.CiliumEndpointList{}
	if err := r.Client.List(ctx, list); err != nil {
		return err
	}
	known := make(map[string]bool, len(list.Items))
	for i := range list.Items {
		cep := &list.Items[i]
		known[string(cep.UID)] = true
		r.attachments.ensure(cep)
		for _, addr := range addrsOf(cep) {
			if err := r.Addresses.Adopt(string(cep.UID), addr); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Adopting an address", "CiliumEndpoint", cep.Namespace+"/"+cep.Name)
			}
		}
	}
	observed, err := r.Datapath.Endpoints(ctx)
	if err != nil {
		return fmt.Errorf("list what the kernel has: %w", err)
	}
	for _, o := range observed {
		if known[o.UID] {
			continue
		}
		if err := r.restoreStray(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// restoreStray removes a device or map entry without an object, unless a live Pod of this node has its address: then
// somebody stripped the object's finalizer, and the pod keeps its connections.
func (r *Reconciler) restoreStray(ctx context.Context, o dp.Observed) error {
	log := ctrl.LoggerFrom(ctx).WithValues("interface", o.HostIfName, "addresses", joinAddrs(o.Addrs))
	for _, addr := range o.Addrs {
		if err := r.Addresses.Adopt(o.UID, addr); err != nil {
			log.Error(err, "Adopting the address of a device without an object")
		}
	}
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods); err != nil {
		return err
	}
	if slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return !podIsOver(&p) && hasAddress(&p, o) }) {
		log.Info("Keeping a device without an object: a pod is using it")
		return nil
	}
	log.Info("Removing a device without an object")
	if err := r.Datapath.RemoveEndpoint(ctx, dp.Endpoint{UID: o.UID, ID: o.ID, HostIfName: o.HostIfName, Addrs: o.Addrs}); err != nil {
		return fmt.Errorf("remove %s: %w", o.HostIfName, err)
	}
	r.Addresses.Cool(o.UID)
	r.trash.put(o.HostIfName, func() { r.Addresses.Free(o.UID) })
	return nil
}

func hasAddress(pod *corev1.Pod, o dp.Observed) bool {
	return slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool {
		return slices.ContainsFunc(o.Addrs, func(a netip.Addr) bool { return a.String() == ip.IP })
	})
}

// Serve lets the reconciler work and wakes every endpoint of the node. Only after Restore.
func (r *Reconciler) Serve(ctx context.Context) error {
	r.attachments.serve()
	return r.WakeAll(ctx)
}

// WakeAll reconciles every endpoint of the node: something that concerns all of them changed.
func (r *Reconciler) WakeAll(ctx context.Context) error {
	list := &v1alpha1.CiliumEndpointList{}
	if err := r.Client.List(ctx, list); err != nil {
		return err
	}
	for i := range list.Items {
		select {
		case r.wake <- event.GenericEvent{Object: &list.Items[i]}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Attached is the number of endpoints that the agent serves.
func (r *Reconciler) Attached() int {
	return len(r.attachments.all())
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// strays are what the kernel had when the agent started and no object knew, but a live Pod is using: somebody stripped
// the object's finalizer, and the pod keeps its connections.
type strays struct {
	mu   sync.Mutex
	kept []dp.Observed
}

// owner is in whose name a stray holds its addresses. What has lost its device does not say whose it was.
func owner(o dp.Observed) string {
	if o.UID != "" {
		return o.UID
	}
	return fmt.Sprintf("device-%d", o.HostIndex)
}

// restoreStrays removes what no object knows, or keeps it for its pod.
func (r *Reconciler) restoreStrays(ctx context.Context, found []dp.Observed) error {
	for _, o := range found {
		if o.HostIfName == "" {
			continue // entries without a device go at once
		}
		r.attachments.reserve(o.ID, types.UID(owner(o)))
		for _, addr := range o.Addrs {
			if err := r.Addresses.Adopt(owner(o), addr); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Adopting the address of a device without an object", "interface", o.HostIfName)
			}
		}
	}
	r.strays.mu.Lock()
	r.strays.kept = found
	r.strays.mu.Unlock()
	return r.sweepStrays(ctx)
}

// sweepStrays removes the strays that no pod uses any more.
func (r *Reconciler) sweepStrays(ctx context.Context) error {
	r.strays.mu.Lock()
	defer r.strays.mu.Unlock()
	if len(r.strays.kept) == 0 {
		return nil
	}
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods); err != nil {
		return err
	}
	stones := r.Tombstones.hostIfNames()
	var kept []dp.Observed
	var failure error
	for _, o := range r.strays.kept {
		user := slices.IndexFunc(pods.Items, func(p corev1.Pod) bool { return !podIsOver(&p) && hasAddress(&p, o) })
		if o.HostIfName != "" && user >= 0 && !stones[o.HostIfName] {
			kept = append(kept, o)
			continue
		}
		if err := r.removeStray(ctx, o); err != nil {
			failure = err
			kept = append(kept, o)
		}
	}
	r.strays.kept = kept
	return failure
}

func (r *Reconciler) removeStray(ctx context.Context, o dp.Observed) error {
	ctrl.LoggerFrom(ctx).Info("Removing what has no object", "interface", o.HostIfName, "addresses", joinAddrs(o.Addrs))
	if err := r.Datapath.RemoveEndpoint(ctx, dp.Endpoint{UID: o.UID, ID: o.ID, HostIfName: o.HostIfName, Addrs: o.Addrs}); err != nil {
		return fmt.Errorf("remove what has no object (%s): %w", o.HostIfName, err)
	}
	r.Addresses.Cool(owner(o))
	r.attachments.giveBack(o.ID, types.UID(owner(o)))
	if o.HostIfName == "" {
		r.Addresses.Free(owner(o)) // the device is gone already
		return nil
	}
	r.trash.put(rubbish{hostIfName: o.HostIfName, owner: owner(o)})
	return nil
}

func hasAddress(pod *corev1.Pod, o dp.Observed) bool {
	return slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool {
		return slices.ContainsFunc(o.Addrs, func(a netip.Addr) bool { return a.String() == ip.IP })
	})
}

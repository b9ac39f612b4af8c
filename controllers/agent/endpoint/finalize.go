// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// heldAgain is how often an endpoint whose deletion is held is looked at again, beside what its watches tell.
const heldAgain = 10 * time.Second

// finalize undoes the endpoint and lets its object go, once its sandbox is gone. A deletionTimestamp alone never cuts a
// live sandbox off: the runtime would never add it again.
func (r *Reconciler) finalize(ctx context.Context, cep *v1alpha1.CiliumEndpoint) (ctrl.Result, error) {
	a := r.attachments.ensure(cep, r.Clock.Now())
	over, err := r.isOver(ctx, a)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !over {
		return r.hold(ctx, a)
	}
	if err := r.undo(ctx, a); err != nil {
		return ctrl.Result{}, err
	}
	r.attachments.drop(a)
	return ctrl.Result{}, r.release(ctx, cep)
}

// isOver tells whether the endpoint's sandbox is gone, or about to be: the runtime said so (tombstone), its device or
// network namespace is gone, or its Pod has been gone for its grace.
func (r *Reconciler) isOver(ctx context.Context, a *attachment) (bool, error) {
	if r.Tombstones.Has(a.cep.Spec.ContainerID, a.cep.Spec.IfName) {
		return true, nil
	}
	exists, err := r.sandboxExists(ctx, a)
	if err != nil {
		return false, err
	}
	if !exists {
		return true, nil
	}
	if err := r.findPod(ctx, a); err != nil {
		return false, err
	}
	return r.isOrphan(a), nil
}

// hold keeps serving an endpoint whose object somebody deleted while its sandbox lives.
func (r *Reconciler) hold(ctx context.Context, a *attachment) (ctrl.Result, error) {
	if !a.held {
		a.held = true
		ctrl.LoggerFrom(ctx).Info("Holding the deletion: the sandbox is alive", "containerID", a.cep.Spec.ContainerID)
		r.Recorder.Eventf(a.cep, nil, corev1.EventTypeWarning, v1alpha1.EventDeletionHeld, "Delete",
			"The endpoint was deleted but its pod is running: it stays until the pod is gone. Delete the pod instead")
	}
	result, err := r.publish(ctx, a, r.attach(ctx, a))
	if err == nil {
		result.RequeueAfter = heldAgain
	}
	return result, err
}

// undo takes the endpoint out of the datapath, once. Its address rests from here on and is free once the device is gone,
// which takes the kernel tens of milliseconds and is not waited for.
func (r *Reconciler) undo(ctx context.Context, a *attachment) error {
	if a.undone {
		return nil
	}
	r.busy.Store(true)
	if err := r.Datapath.RemoveEndpoint(ctx, a.ep); err != nil {
		return fmt.Errorf("take the endpoint out of the datapath: %w", err)
	}
	r.Addresses.Cool(a.ep.UID)
	r.attachments.giveBack(a.ep.ID, a.cepUID)
	if a.undone = true; a.served.Swap(false) {
		ctrl.LoggerFrom(ctx).Info("Detached endpoint", "pod", a.name.String(), "addresses", joinAddrs(a.ep.Addrs),
			"endpointID", a.ep.ID, "interface", a.ep.HostIfName)
	}
	r.trash.put(rubbish{hostIfName: a.ep.HostIfName, owner: a.ep.UID, name: a.name})
	return nil
}

// freed is called when the device of an endpoint is gone: its addresses may be given to others. It wakes who waited for
// the device's name or for an address.
func (r *Reconciler) freed(ctx context.Context, gone rubbish) {
	r.busy.Store(true) // more of them may be waiting
	r.Addresses.Free(gone.owner)
	for _, a := range r.attachments.all() {
		if a.name == gone.name || a.starved.Load() {
			r.wakeName(ctx, a.name)
		}
	}
}

// release lets the object go.
func (r *Reconciler) release(ctx context.Context, cep *v1alpha1.CiliumEndpoint) error {
	released := cep.DeepCopy()
	if !controllerutil.RemoveFinalizer(released, v1alpha1.EndpointFinalizer) {
		return nil
	}
	patch := client.MergeFromWithOptions(cep, client.MergeFromWithOptimisticLock{})
	return client.IgnoreNotFound(r.Client.Patch(ctx, released, patch))
}

// deleteObject deletes the object (and no later one of its name); its finalizer brings it to finalize.
func (r *Reconciler) deleteObject(ctx context.Context, cep *v1alpha1.CiliumEndpoint, why string) error {
	ctrl.LoggerFrom(ctx).Info(why, "containerID", cep.Spec.ContainerID)
	err := r.Client.Delete(ctx, cep, client.Preconditions{UID: &cep.UID})
	if apierrors.IsConflict(err) {
		return nil // another object of that name: its own event brings it here
	}
	return client.IgnoreNotFound(err)
}

// vanished handles an object that is no longer in the cache: its finalizer kept it until undo, so usually nothing is
// left. Otherwise somebody stripped the finalizer (or the operator took this node for dead), and the sandbox decides.
func (r *Reconciler) vanished(ctx context.Context, name types.NamespacedName) (ctrl.Result, error) {
	a := r.attachments.get(name)
	if a == nil {
		return ctrl.Result{}, nil
	}
	live := &v1alpha1.CiliumEndpoint{}
	err := r.Live.Get(ctx, name, live)
	if err == nil && live.UID == a.cepUID {
		return ctrl.Result{RequeueAfter: time.Second}, nil // the cache is behind
	}
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	}
	over, err := r.isOver(ctx, a)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !over {
		return ctrl.Result{RequeueAfter: heldAgain}, nil
	}
	if err := r.undo(ctx, a); err != nil {
		return ctrl.Result{}, err
	}
	r.attachments.drop(a)
	return ctrl.Result{}, nil
}

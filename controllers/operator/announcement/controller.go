// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package announcement looks after what agents announce: it deletes the Leases of Services that are gone, and says of
// each CiliumL2AnnouncementPolicy whether it makes sense. Entry points: New and NewPolicies.
package announcement

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/conflict"
)

// Reconciler reconciles the Lease of an announced Service: it goes with the Service. An owner reference cannot say so,
// because the two are in different namespaces.
type Reconciler struct {
	client client.Client
	live   client.Reader
}

// New makes a Reconciler; live reads past the cache.
func New(c client.Client, live client.Reader) *Reconciler { return &Reconciler{client: c, live: live} }

// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch;delete,namespace=kube-system

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	deleted := predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(event.UpdateEvent) bool { return false },
	}
	appeared := predicate.Funcs{
		UpdateFunc: func(event.UpdateEvent) bool { return false }, // It is renewed all the time.
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("announcement").
		For(&coordinationv1.Lease{}, builder.WithPredicates(appeared)).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(leaseOf), builder.WithPredicates(deleted)).
		Complete(r)
}

func leaseOf(_ context.Context, svc client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: v1alpha1.AnnouncementLeaseNamespace, Name: v1alpha1.AnnouncementLease(svc.GetNamespace(), svc.GetName()),
	}}}
}

// Reconcile deletes the Lease of a Service that is gone.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	lease := &coordinationv1.Lease{}
	if err := r.client.Get(ctx, req.NamespacedName, lease); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	of := types.NamespacedName{
		Namespace: lease.Labels[v1alpha1.AnnouncementNamespaceLabel], Name: lease.Labels[v1alpha1.AnnouncementServiceLabel],
	}
	if there, err := r.there(ctx, of); err != nil || there {
		return ctrl.Result{}, err
	}
	err := r.client.Delete(ctx, lease, client.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion})
	if err != nil {
		return conflict.Requeue(ctrl.Result{}, fmt.Errorf("delete the Lease of Service %s: %w", of, err))
	}
	ctrl.LoggerFrom(ctx).Info("Deleted the Lease of a Service that is gone", "Service", of.String())
	return ctrl.Result{}, nil
}

// there asks the API server before it says that a Service is gone: an agent may have seen one that the cache has not.
func (r *Reconciler) there(ctx context.Context, of types.NamespacedName) (bool, error) {
	if r.client.Get(ctx, of, &corev1.Service{}) == nil {
		return true, nil
	}
	err := r.live.Get(ctx, of, &corev1.Service{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

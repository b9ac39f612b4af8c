// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package service tells the owners of Services what of their annotations makes no sense, by an event: once for the
// cluster, where each agent only takes the default. Entry point: Reconciler.
package service

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/service/translate"
)

// Reconciler has one request for each Service whose annotations changed.
type Reconciler struct {
	client client.Reader
	events events.EventRecorder
}

// New makes a Reconciler.
func New(c client.Reader, recorder events.EventRecorder) *Reconciler {
	return &Reconciler{client: c, events: recorder}
}

// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("service").
		For(&corev1.Service{}, builder.WithPredicates(wrong())).
		Complete(r)
}

// wrong lets a Service pass that is wrong, if it was not wrong in the same way before.
func wrong() predicate.Predicate {
	said := func(o client.Object) string { return o.GetAnnotations()[translate.AlgorithmAnnotation] }
	is := func(o client.Object) bool { return translate.CheckAlgorithm(o.(*corev1.Service)) != nil }
	return predicate.Funcs{
		CreateFunc:  func(e event.CreateEvent) bool { return is(e.Object) },
		UpdateFunc:  func(e event.UpdateEvent) bool { return is(e.ObjectNew) && said(e.ObjectOld) != said(e.ObjectNew) },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// Reconcile says what is wrong.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	svc := &corev1.Service{}
	if err := r.client.Get(ctx, request.NamespacedName, svc); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if err := translate.CheckAlgorithm(svc); err != nil {
		r.events.Eventf(svc, nil, corev1.EventTypeWarning, v1alpha1.EventInvalidAnnotation, "CheckAnnotations", "%s", err)
	}
	return ctrl.Result{}, nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package endpoint does to CiliumEndpoints what no agent can do: it releases those whose pod is gone and whose node will
// not undo them, and marks those that claim what is not theirs. Everything else about endpoints is their agent's.
package endpoint

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/conflict"
)

const fieldOwner = client.FieldOwner("cilium-operator-endpoint")

// AgentNode is the field index that finds the agent's pod of a node.
const AgentNode = "agentNode"

// AgentNodeOf is the value of AgentNode: the node of a pod that is an agent.
func AgentNodeOf(obj client.Object) []string {
	pod := obj.(*corev1.Pod)
	if pod.Labels["ciliate.dev/component"] != "agent" || pod.Spec.NodeName == "" {
		return nil
	}
	return []string{pod.Spec.NodeName}
}

// Reconciler reconciles a CiliumEndpoint. It has one worker.
type Reconciler struct {
	client client.Client
	live   client.Reader
	events events.EventRecorder
	now    func() time.Time
	// doubts are about what endpoints claim, orphans are the endpoints whose node has no agent.
	doubts, orphans doubts
	released        prometheus.Counter
}

// New makes a Reconciler; live reads past the cache.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, clock func() time.Time) *Reconciler {
	return &Reconciler{
		client: c, live: live, events: recorder, now: clock, doubts: doubts{}, orphans: doubts{}, released: newReleased(),
	}
}

// +kubebuilder:rbac:groups="",resources=pods;nodes;namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumendpoints,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumendpoints/status,verbs=update
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnodes;ciliumidentities;ciliumconfigs,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("endpoint").
		For(&v1alpha1.CiliumEndpoint{}).
		Watches(&corev1.Pod{}, &handler.EnqueueRequestForObject{}). // Named alike.
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.ofNode)).
		Watches(&v1alpha1.CiliumNode{}, handler.EnqueueRequestsFromMapFunc(r.ofNode)).
		Watches(&v1alpha1.CiliumConfig{}, handler.EnqueueRequestsFromMapFunc(r.every), builder.WithPredicates(filterChanges())).
		Complete(r)
}

func (r *Reconciler) ofNode(ctx context.Context, node client.Object) []reconcile.Request {
	return r.list(ctx, client.MatchingFields{index.EndpointNode: node.GetName()})
}

func (r *Reconciler) every(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.list(ctx)
}

func (r *Reconciler) list(ctx context.Context, which ...client.ListOption) []reconcile.Request {
	var endpoints v1alpha1.CiliumEndpointList
	if err := r.client.List(ctx, &endpoints, which...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the endpoints")
		return nil
	}
	requests := make([]reconcile.Request, len(endpoints.Items))
	for i := range endpoints.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&endpoints.Items[i])
	}
	return requests
}

// filterChanges lets the configuration pass when another label filter is in force, and with it other identities are
// right.
func filterChanges() predicate.Predicate {
	version := func(obj client.Object) int64 {
		if f := obj.(*v1alpha1.CiliumConfig).Status.IdentityFilter; f != nil {
			return f.Version
		}
		return 0
	}
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return version(e.ObjectOld) != version(e.ObjectNew) },
	}
}

// Reconcile releases an endpoint, or judges it.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ep := &v1alpha1.CiliumEndpoint{}
	err := r.client.Get(ctx, req.NamespacedName, ep)
	if apierrors.IsNotFound(err) {
		r.doubts.forget(req.NamespacedName)
		r.orphans.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get the CiliumEndpoint: %w", err)
	}
	facts, err := gather(ctx, r.client, ep)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !facts.hasPod() || facts.static() {
		released, err := r.release(ctx, facts)
		if released || err != nil {
			return conflict.Requeue(ctrl.Result{}, err)
		}
	}
	wait, err := r.judge(ctx, facts)
	if !facts.hasPod() {
		wait = sooner(wait, lookAgain)
	}
	return conflict.Requeue(ctrl.Result{RequeueAfter: wait}, err)
}

// sooner is the shorter of two waits, where zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

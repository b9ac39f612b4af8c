// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package loadbalancer gives Services of type LoadBalancer their addresses from CiliumLoadBalancerIPPools. It writes the
// addresses and the condition cilium.io/IPAMRequestSatisfied of such Services, and the status of pools. What it gave
// stands in the Services, so that the next leader finds it there. While there is no pool, Services are left to others.
package loadbalancer

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/loadbalancer"
)

const fieldOwner = client.FieldOwner("cilium-operator-loadbalancer")

const (
	// writeTimeout is shorter than the 5 s between the end of one leader's work and the start of the next one's: an
	// address given by the former is there when the latter looks.
	writeTimeout = 4 * time.Second
	// pause is for how long the cache has time to see what it lacks.
	pause = 100 * time.Millisecond
)

// Reconciler has one request, for all Services and pools: whether an address is free depends on all of them. It has one
// worker.
type Reconciler struct {
	client client.Client
	live   client.Reader
	events events.EventRecorder
	now    func() time.Time
	// book is nil until the cache shows what earlier leaders gave.
	book *loadbalancer.Book
}

// New makes a Reconciler; live reads past the cache.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, clock func() time.Time) *Reconciler {
	return &Reconciler{client: c, live: live, events: recorder, now: clock}
}

// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=services/status,verbs=patch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumloadbalancerippools,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumloadbalancerippools/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: "loadbalancer"}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("loadbalancer").
		Watches(&corev1.Service{}, all, builder.WithPredicates(concerned())).
		Watches(&v1alpha1.CiliumLoadBalancerIPPool{}, all).
		Complete(r)
}

// concerned lets a Service pass that has, had, or shall have addresses from here.
func concerned() predicate.Predicate {
	is := func(obj client.Object) bool {
		svc := obj.(*corev1.Service)
		return served(svc) || marked(svc)
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return is(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return is(e.ObjectOld) || is(e.ObjectNew) },
		DeleteFunc: func(e event.DeleteEvent) bool { return is(e.Object) },
	}
}

// Reconcile settles who has which address and writes what differs.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	services, err := r.services(ctx, r.client)
	if err != nil {
		return ctrl.Result{}, err
	}
	if known, err := r.remember(ctx, services); err != nil || !known {
		return ctrl.Result{RequeueAfter: pause}, err
	}
	pools, err := r.pools(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	asking := slices.DeleteFunc(slices.Clone(services), func(svc *corev1.Service) bool {
		return !served(svc) || len(pools) == 0 && !marked(svc)
	})
	settled := r.book.Settle(plain(pools), requests(asking, pools))
	writes := writes{Reconciler: r}
	for _, svc := range services {
		answer, ok := settled.Answers[string(svc.UID)]
		switch {
		case ok:
			writes.add(r.tell(ctx, svc, answer))
		case marked(svc):
			writes.add(r.clear(ctx, svc))
		}
	}
	for _, p := range pools {
		writes.add(r.report(ctx, p, settled.Usage[p.object.Name]))
	}
	return writes.result()
}

// services are those that have, had or shall have addresses from here, the oldest first.
func (r *Reconciler) services(ctx context.Context, from client.Reader) ([]*corev1.Service, error) {
	var list corev1.ServiceList
	if err := from.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the Services: %w", err)
	}
	var out []*corev1.Service
	for i := range list.Items {
		if svc := &list.Items[i]; served(svc) || marked(svc) {
			out = append(out, svc)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Service) int { return older(a, b) })
	return out, nil
}

// remember opens the book once the cache shows every address that the API server knows of: another leader may have given
// one a moment ago. From then on nobody else gives any.
func (r *Reconciler) remember(ctx context.Context, cached []*corev1.Service) (bool, error) {
	if r.book != nil {
		return true, nil
	}
	current, err := r.services(ctx, r.live)
	if err != nil {
		return false, err
	}
	shown := map[types.UID]*corev1.Service{}
	for _, svc := range cached {
		shown[svc.UID] = svc
	}
	for _, svc := range current {
		have := addresses(svc)
		if seen := shown[svc.UID]; len(have) > 0 && (seen == nil || !slices.Equal(have, addresses(seen))) {
			return false, nil
		}
	}
	r.book = loadbalancer.NewBook()
	return true, nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package announcement

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/retry"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

const (
	// writeTimeout is how long a write of a Lease may take: several of them fit into its duration.
	writeTimeout = 4 * time.Second
	// again is how soon a write that failed is tried again, or a race looked at that was lost.
	again = time.Second
	// workers are how many Leases are written at a time.
	workers = 4
)

// datapath is what the reconciler asks of the kernel.
type datapath interface {
	Cards() []string
	Announce(list []dp.Announcement, long time.Duration) error
	Withdraw(list []dp.Announcement) error
	Announcements() ([]dp.Announcement, error)
}

// Options are what a Reconciler needs.
type Options struct {
	Client   client.Client
	Datapath datapath
	Clock    clock.WithTicker
	NodeName string
}

// Reconciler reconciles a Service: this node holds its Lease and announces its addresses, or leaves them to others.
type Reconciler struct {
	Options
	tenures tenures
	seen    sightings
	synced  atomic.Bool
	changed chan event.GenericEvent
}

// New returns a Reconciler. It does nothing until Sync is called.
func New(o Options) *Reconciler {
	return &Reconciler{
		Options: o, changed: make(chan event.GenericEvent, 1),
		tenures: tenures{datapath: o.Datapath, byName: map[types.NamespacedName]tenure{}},
		seen:    sightings{byName: map[types.NamespacedName]sighting{}},
	}
}

// SetupWithManager makes the reconciler one of mgr's.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	every := handler.EnqueueRequestsFromMapFunc(r.every)
	return ctrl.NewControllerManagedBy(mgr).
		Named("announcement").
		WithOptions(controller.Options{RateLimiter: retry.Limiter(), MaxConcurrentReconciles: workers}).
		For(&corev1.Service{}).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(labelled(discoveryv1.LabelServiceName, ""))).
		Watches(&coordinationv1.Lease{}, handler.EnqueueRequestsFromMapFunc(
			labelled(v1alpha1.AnnouncementServiceLabel, v1alpha1.AnnouncementNamespaceLabel))).
		Watches(&v1alpha1.CiliumL2AnnouncementPolicy{}, every, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Node{}, every, builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(source.Channel(r.changed, every)).
		Complete(r)
}

// labelled finds the Service that an object names by labels; without one for the namespace it is the object's own.
func labelled(name, namespace string) handler.MapFunc {
	return func(_ context.Context, obj client.Object) []reconcile.Request {
		found := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetLabels()[name]}
		if namespace != "" {
			found.Namespace = obj.GetLabels()[namespace]
		}
		if found.Name == "" || found.Namespace == "" {
			return nil // it is nobody's
		}
		return []reconcile.Request{{NamespacedName: found}}
	}
}

// every is all Services that have something to announce, or had.
func (r *Reconciler) every(ctx context.Context, _ client.Object) []reconcile.Request {
	services := &corev1.ServiceList{}
	if err := r.Client.List(ctx, services); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the Services")
		return nil
	}
	var requests []reconcile.Request
	for i := range services.Items {
		name := client.ObjectKeyFromObject(&services.Items[i])
		if _, held := r.tenures.get(name); held || announceable(&services.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: name})
		}
	}
	return requests
}

// Sync withdraws what an earlier agent announced and the node has no Lease for any more, and starts to reconcile. The
// cache must have synced, the node be programmed.
func (r *Reconciler) Sync(ctx context.Context) error {
	services := &corev1.ServiceList{}
	if err := r.Client.List(ctx, services); err != nil {
		return err
	}
	var wanted []dp.Announcement
	for i := range services.Items {
		lease, err := r.leaseOf(ctx, client.ObjectKeyFromObject(&services.Items[i]))
		if err != nil {
			return err
		}
		if lease == nil || holderOf(lease) != r.NodeName {
			continue
		}
		of, err := r.wanted(ctx, &services.Items[i])
		if err != nil {
			return err
		}
		wanted = append(wanted, of...)
	}
	have, err := r.Datapath.Announcements()
	if err != nil {
		return err
	}
	stale := slices.DeleteFunc(have, func(a dp.Announcement) bool { return slices.Contains(wanted, a) })
	if err := r.Datapath.Withdraw(stale); err != nil {
		return err
	}
	r.synced.Store(true)
	select {
	case r.changed <- event.GenericEvent{Object: &v1alpha1.CiliumL2AnnouncementPolicy{}}:
	default: // one is waiting already
	}
	return nil
}

// Start keeps the kernel answering for what the node holds, until ctx ends.
func (r *Reconciler) Start(ctx context.Context) error {
	ticker := r.Clock.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := r.tenures.beat(r.Clock.Now()); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Announcing addresses of Services")
			}
		}
	}
}

// Reconcile holds the Lease of a Service if this node should and can.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if !r.synced.Load() {
		return ctrl.Result{}, nil // Sync takes everything
	}
	svc := &corev1.Service{}
	if err := r.Client.Get(ctx, req.NamespacedName, svc); err != nil {
		if apierrors.IsNotFound(err) {
			r.seen.forget(req.NamespacedName)
			return ctrl.Result{}, r.tenures.end(req.NamespacedName) // The operator deletes the Lease.
		}
		return ctrl.Result{}, err
	}
	wanted, err := r.wanted(ctx, svc)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(wanted) == 0 {
		return r.resign(ctx, req.NamespacedName)
	}
	if held, ok := r.tenures.get(req.NamespacedName); ok {
		return r.renew(ctx, req.NamespacedName, held, wanted)
	}
	return r.apply(ctx, req.NamespacedName, wanted)
}

// resign ends a tenure and leaves the Lease to others. The answers end first.
func (r *Reconciler) resign(ctx context.Context, name types.NamespacedName) (ctrl.Result, error) {
	held, ok := r.tenures.get(name)
	if !ok {
		return ctrl.Result{}, nil
	}
	if err := r.tenures.end(name); err != nil {
		return ctrl.Result{}, err
	}
	ctrl.LoggerFrom(ctx).Info("Leaving the addresses to other nodes")
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := r.Client.Update(ctx, released(held.lease))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return ctrl.Result{}, nil // It is another's already, or nobody's.
	}
	return ctrl.Result{}, err
}

// renew goes on with a tenure. An API server that does not answer does not end it: nobody else can have the Lease.
func (r *Reconciler) renew(ctx context.Context, name types.NamespacedName, held tenure, wanted []dp.Announcement) (ctrl.Result, error) {
	now := r.Clock.Now()
	if wait := renewEvery - now.Sub(held.renewed); wait > 0 {
		held.announced = wanted
		return ctrl.Result{RequeueAfter: wait}, r.tenures.put(name, held, now)
	}
	next, err := r.write(ctx, name, held.lease)
	switch {
	case err == nil:
		next.announced = wanted
		return ctrl.Result{RequeueAfter: renewEvery}, r.tenures.put(name, next, r.Clock.Now())
	case lost(err):
		ctrl.LoggerFrom(ctx).Info("Lost the Lease of the addresses", "because", err.Error())
		return ctrl.Result{RequeueAfter: again}, r.tenures.end(name)
	}
	r.tenures.failed(r.Clock.Now())
	ctrl.LoggerFrom(ctx).Error(err, "Renewing the Lease of the addresses")
	return ctrl.Result{RequeueAfter: again}, nil
}

// lost tells an answer by which another is the holder from no answer at all.
func lost(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) || apierrors.IsForbidden(err)
}

// apply waits until the Lease is free, and then writes it.
func (r *Reconciler) apply(ctx context.Context, name types.NamespacedName, wanted []dp.Announcement) (ctrl.Result, error) {
	lease, err := r.leaseOf(ctx, name)
	if err != nil {
		return ctrl.Result{}, err
	}
	now := r.Clock.Now()
	if wait := r.seen.look(name, lease, now).free(r.NodeName, name).Sub(now); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	next, err := r.write(ctx, name, lease)
	if err != nil && lost(err) {
		return ctrl.Result{RequeueAfter: again}, nil // Another was faster: the cache will show it.
	}
	if err != nil {
		// Its holder was not heard because nobody is.
		r.seen.restart(name, r.Clock.Now())
		return ctrl.Result{}, err
	}
	ctrl.LoggerFrom(ctx).Info("Announcing addresses of the Service", "announcements", wanted)
	next.announced = wanted
	return ctrl.Result{RequeueAfter: renewEvery}, r.tenures.put(name, next, r.Clock.Now())
}

// leaseOf is the Lease of a Service, nil when there is none.
func (r *Reconciler) leaseOf(ctx context.Context, name types.NamespacedName) (*coordinationv1.Lease, error) {
	key := types.NamespacedName{
		Namespace: v1alpha1.AnnouncementLeaseNamespace, Name: v1alpha1.AnnouncementLease(name.Namespace, name.Name),
	}
	lease := &coordinationv1.Lease{}
	err := r.Client.Get(ctx, key, lease)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return lease, err
}

// write makes this node the holder of the Lease from now on. Without a Lease it makes one.
func (r *Reconciler) write(ctx context.Context, name types.NamespacedName, lease *coordinationv1.Lease) (tenure, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	now := r.Clock.Now()
	var err error
	if lease == nil {
		lease = newLease(name, r.NodeName, now)
		err = r.Client.Create(ctx, lease)
	} else {
		lease = held(lease, r.NodeName, now)
		err = r.Client.Update(ctx, lease)
	}
	return tenure{lease: lease, renewed: now}, err
}

// RegisterMetrics adds the reconciler's metrics.
func (r *Reconciler) RegisterMetrics(registry prometheus.Registerer) error {
	return registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ciliate_services_announced", Help: "Services whose addresses this node announces on its links",
	}, func() float64 { return float64(r.tenures.count()) }))
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/retry"
	"github.com/ciliate-io/ciliate/internal/service"
	services "github.com/ciliate-io/ciliate/internal/service/translate"
)

const (
	// repairEvery is how often the maps are compared with what they should hold.
	repairEvery = 10 * time.Minute
	// roomAgain is how soon Services for which there was no room are tried again after something was deleted.
	roomAgain = time.Second
	// portAgain is how soon a port that somebody else had is asked for again.
	portAgain = 10 * time.Second
)

// datapath is what the reconciler asks of the kernel.
type datapath interface {
	Services() (service.State, error)
	WriteServices(diff service.Diff) error
	ServiceCapacity() service.Capacity
	AttachSockets() error
	DestroySockets(ctx context.Context, gone []service.Backend) error
}

// Options are what a Reconciler needs.
type Options struct {
	Client   client.Reader
	Datapath datapath
	Clock    clock.WithTicker
	NodeName string
	// Changed is called when there is something new to say of Services that are not programmed as they should be.
	Changed func()
}

// Reconciler keeps the maps of Services. It has one request, for all that changed since the last one.
type Reconciler struct {
	Options
	dirty  dirty
	view   view
	health *health

	// mu is held from reading the cache until the kernel is written: what was read first must not be written last.
	mu sync.Mutex
	// table is nil when nobody knows what the kernel holds.
	table  *service.Table
	synced bool
	// unanswered is why load balancers cannot ask for the health of some Services.
	unanswered error
}

// New returns a Reconciler. It does nothing until Sync is called.
func New(o Options) *Reconciler {
	return &Reconciler{Options: o, dirty: newDirty(), health: newHealth()}
}

// all is the one request.
func all() []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: "services"}}}
}

// SetupWithManager makes the reconciler one of mgr's.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	own := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == r.NodeName })
	hostPorts := predicate.NewPredicateFuncs(func(o client.Object) bool {
		pod, ok := o.(*corev1.Pod)
		return ok && len(services.HostPorts(pod)) > 0
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("service").
		WithOptions(controller.Options{RateLimiter: retry.Limiter()}).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(r.serviceChanged)).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(r.sliceChanged)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.podChanged), builder.WithPredicates(hostPorts)).
		Watches(&v1alpha1.CiliumNode{}, handler.EnqueueRequestsFromMapFunc(r.nodeChanged),
			builder.WithPredicates(own, predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.CiliumConfig{}, handler.EnqueueRequestsFromMapFunc(r.configChanged),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
}

func (r *Reconciler) serviceChanged(_ context.Context, o client.Object) []reconcile.Request {
	r.dirty.add(owner{NamespacedName: client.ObjectKeyFromObject(o)})
	return all()
}

func (r *Reconciler) podChanged(_ context.Context, o client.Object) []reconcile.Request {
	r.dirty.add(owner{pod: true, NamespacedName: client.ObjectKeyFromObject(o)})
	return all()
}

func (r *Reconciler) sliceChanged(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[discoveryv1.LabelServiceName]
	if name == "" {
		return nil // it is nobody's
	}
	r.dirty.add(owner{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}})
	return all()
}

// nodeChanged: with the node's addresses, every node port may have others.
func (r *Reconciler) nodeChanged(context.Context, client.Object) []reconcile.Request {
	r.dirty.addAll()
	return all()
}

// configChanged: it says what Services get that do not say otherwise.
func (r *Reconciler) configChanged(context.Context, client.Object) []reconcile.Request {
	r.dirty.addAll()
	return all()
}

// Reconcile writes what changed.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.synced {
		return ctrl.Result{}, nil // Sync takes everything
	}
	owners, everything := r.dirty.take()
	if everything || r.table == nil {
		return r.result(r.sync(ctx))
	}
	changes := newWanted()
	for _, o := range owners {
		if err := r.read(ctx, o, changes); err != nil {
			r.dirty.add(owners...)
			return ctrl.Result{}, err
		}
	}
	r.answer(ctx, changes)
	return r.result(r.write(ctx, r.table.Update(changes.sets)))
}

// result asks to be called again when room may have been made for who found none, or a port for who is to be asked there.
func (r *Reconciler) result(diff service.Diff, err error) (ctrl.Result, error) {
	switch {
	case err != nil:
		return ctrl.Result{}, err
	case len(r.table.Short()) > 0 && diff.FreesRoom():
		return ctrl.Result{RequeueAfter: roomAgain}, nil
	case r.lacksPort():
		return ctrl.Result{RequeueAfter: portAgain}, nil
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) lacksPort() bool { return r.unanswered != nil }

// Sync makes the maps what the cache holds, all at once, and then lets sockets follow them. What is right already is not
// touched. The cache must have synced.
func (r *Reconciler) Sync(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.sync(ctx); err != nil {
		return err
	}
	if err := r.Datapath.AttachSockets(); err != nil {
		return err
	}
	r.synced = true
	return nil
}

func (r *Reconciler) sync(ctx context.Context) (service.Diff, error) {
	r.table = nil // until all of this succeeds, the next try is for everything
	have, err := r.Datapath.Services()
	if err != nil {
		return service.Diff{}, err
	}
	services, err := r.readAll(ctx)
	if err != nil {
		return service.Diff{}, err
	}
	r.answer(ctx, services)
	r.table = service.NewTable(have, r.Datapath.ServiceCapacity())
	return r.write(ctx, r.table.Replace(services.sets))
}

// answer tells load balancers what is so now. A port that somebody else has is no reason to leave the maps behind.
func (r *Reconciler) answer(ctx context.Context, w wanted) {
	if r.unanswered = r.health.update(w.checks); r.unanswered != nil {
		ctrl.LoggerFrom(ctx).Error(r.unanswered, "Answering health checks of load balancers")
	}
}

// write tells the kernel. If it fails, what the kernel holds is asked anew before the next try. Sockets come last: who
// asks again must find the new backends. What went wrong others are told.
func (r *Reconciler) write(ctx context.Context, diff service.Diff) (service.Diff, error) {
	problem := r.unanswered
	if !diff.Empty() {
		if err := r.Datapath.WriteServices(diff); err != nil {
			r.table = nil
			r.tell(errors.Join(problem, err))
			return diff, err
		}
	}
	if len(diff.Gone) > 0 {
		if err := r.Datapath.DestroySockets(ctx, diff.Gone); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Ending sockets to backends that are gone")
			problem = errors.Join(problem, err)
		}
	}
	r.tell(problem)
	return diff, nil
}

func (r *Reconciler) tell(problem error) {
	if r.view.set(r.table, problem) {
		r.Changed()
	}
}

// Start repairs the maps until ctx ends: somebody else may have written to them.
func (r *Reconciler) Start(ctx context.Context) error {
	ticker := r.Clock.NewTicker(repairEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := r.repair(ctx); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Repairing the maps of Services")
			}
		}
	}
}

func (r *Reconciler) repair(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.synced {
		return nil
	}
	_, err := r.sync(ctx)
	return err
}

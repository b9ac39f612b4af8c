// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package ipcache keeps the datapath's table of addresses: whose identity an address has and on which node it is. It
// takes the endpoints of all nodes and the nodes themselves; an endpoint counts only for addresses of its node's pool.
// Entry point: Reconciler.
package ipcache

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/retry"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/translate"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// repairEvery is how often the whole table is compared with the kernel's.
const repairEvery = 10 * time.Minute

// datapath is what the reconciler asks of the kernel.
type datapath interface {
	SyncRoutes(routes []dp.Route) error
	PutRoutes(routes []dp.Route) error
	DeleteRoutes(prefixes []netip.Prefix) error
}

// Reconciler keeps the table of addresses. A request with a namespace names an endpoint, one without a node.
type Reconciler struct {
	local    client.Reader
	remote   cache.Cache
	datapath datapath
	clock    clock.WithTicker

	// mu is held from reading the caches until the kernel is written: what was read first must not be written last.
	mu     sync.Mutex
	synced bool
	here   here
	table  table
}

// New returns a Reconciler that reads this node's endpoints and all nodes from local, the endpoints of the others from
// remote. It does nothing until Sync is called.
func New(local client.Reader, remote cache.Cache, d datapath, nodeName string, c clock.WithTicker) *Reconciler {
	return &Reconciler{local: local, remote: remote, datapath: d, clock: c, here: here{name: nodeName}, table: newTable()}
}

// SetupWithManager makes the reconciler one of mgr's.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	remote := source.Kind(r.remote, &v1alpha1.CiliumEndpoint{}, &handler.TypedEnqueueRequestForObject[*v1alpha1.CiliumEndpoint]{})
	return ctrl.NewControllerManagedBy(mgr).
		Named("ipcache").
		WithOptions(controller.Options{RateLimiter: retry.Limiter()}).
		For(&v1alpha1.CiliumEndpoint{}).
		WatchesRawSource(remote).
		// Every agent writes the status of its node each minute: only the operator's part matters here.
		Watches(&v1alpha1.CiliumNode{}, handler.EnqueueRequestsFromMapFunc(r.withNode),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
}

// withNode is the node and, since its pool says which of their addresses count, its endpoints.
func (r *Reconciler) withNode(ctx context.Context, node client.Object) []reconcile.Request {
	out := []reconcile.Request{{NamespacedName: types.NamespacedName{Name: node.GetName()}}}
	ceps, err := r.endpoints(ctx)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the endpoints of a node", "CiliumNode", node.GetName())
		return out
	}
	for i := range ceps {
		if ceps[i].Spec.NodeName == node.GetName() {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&ceps[i])})
		}
	}
	return out
}

// Reconcile brings the rows of one endpoint or node up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.synced {
		return ctrl.Result{}, nil // Sync takes everything
	}
	if req.Namespace == "" && req.Name == r.here.name {
		if moved, err := r.locate(ctx); err != nil || moved {
			return ctrl.Result{}, errors.Join(err, r.sync(ctx))
		}
	}
	routes, err := r.routesOf(ctx, req.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	put, del := r.table.set(req.NamespacedName, routes)
	if err := r.write(put, del); err != nil {
		r.table.failed(req.NamespacedName, put, del)
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) write(put []dp.Route, del []netip.Prefix) error {
	if len(del) > 0 {
		if err := r.datapath.DeleteRoutes(del); err != nil {
			return err
		}
	}
	if len(put) > 0 {
		return r.datapath.PutRoutes(put)
	}
	return nil
}

// locate reads this node's own addresses and tells whether they are others than before: then every route may be another.
func (r *Reconciler) locate(ctx context.Context) (moved bool, err error) {
	node := &v1alpha1.CiliumNode{}
	if err := r.local.Get(ctx, types.NamespacedName{Name: r.here.name}, node); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	addrs := translate.Peer(node).Addrs
	moved = !slices.Equal(addrs, r.here.addrs)
	r.here.addrs = addrs
	return moved, nil
}

func (r *Reconciler) routesOf(ctx context.Context, name types.NamespacedName) ([]dp.Route, error) {
	node := &v1alpha1.CiliumNode{}
	if name.Namespace == "" {
		if err := r.local.Get(ctx, name, node); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		return r.here.nodeRoutes(node), nil
	}
	cep, err := r.endpoint(ctx, name)
	if cep == nil || err != nil {
		return nil, err
	}
	if err := r.local.Get(ctx, types.NamespacedName{Name: cep.Spec.NodeName}, node); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return r.here.endpointRoutes(cep, node), nil
}

// endpoint finds an endpoint of this or another node; nil when there is none. While a pod of that name moves, both
// caches can have one: the younger counts.
func (r *Reconciler) endpoint(ctx context.Context, name types.NamespacedName) (*v1alpha1.CiliumEndpoint, error) {
	var found *v1alpha1.CiliumEndpoint
	for _, reader := range []client.Reader{r.local, r.remote} {
		cep := &v1alpha1.CiliumEndpoint{}
		err := reader.Get(ctx, name, cep)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found == nil || found.CreationTimestamp.Before(&cep.CreationTimestamp) {
			found = cep
		}
	}
	return found, nil
}

func (r *Reconciler) endpoints(ctx context.Context) ([]v1alpha1.CiliumEndpoint, error) {
	var all []v1alpha1.CiliumEndpoint
	for _, reader := range []client.Reader{r.local, r.remote} {
		list := &v1alpha1.CiliumEndpointList{}
		if err := reader.List(ctx, list); err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
	}
	return all, nil
}

// Sync makes the kernel's table what the caches hold, all at once. The caches must have synced.
func (r *Reconciler) Sync(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.locate(ctx); err != nil {
		return err
	}
	if err := r.sync(ctx); err != nil {
		return err
	}
	r.synced = true
	return nil
}

func (r *Reconciler) sync(ctx context.Context) error {
	nodes := &v1alpha1.CiliumNodeList{}
	if err := r.local.List(ctx, nodes); err != nil {
		return err
	}
	ceps, err := r.endpoints(ctx)
	if err != nil {
		return err
	}
	r.table = newTable()
	byName := make(map[string]*v1alpha1.CiliumNode, len(nodes.Items))
	for i := range nodes.Items {
		node := &nodes.Items[i]
		byName[node.Name] = node
		r.table.set(client.ObjectKeyFromObject(node), r.here.nodeRoutes(node))
	}
	slices.SortStableFunc(ceps, func(a, b v1alpha1.CiliumEndpoint) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for i := range ceps {
		if node := byName[ceps[i].Spec.NodeName]; node != nil {
			r.table.set(client.ObjectKeyFromObject(&ceps[i]), r.here.endpointRoutes(&ceps[i], node))
		}
	}
	err = r.datapath.SyncRoutes(r.table.all())
	if err != nil {
		r.here.addrs = nil // the next look at this node finds a change, and syncs again
	}
	return err
}

// Start repairs the kernel's table until ctx ends: somebody else may have written to it.
func (r *Reconciler) Start(ctx context.Context) error {
	ticker := r.clock.NewTicker(repairEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := r.repair(); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Repairing the table of addresses")
			}
		}
	}
}

func (r *Reconciler) repair() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.synced {
		return nil
	}
	return r.datapath.SyncRoutes(r.table.all())
}

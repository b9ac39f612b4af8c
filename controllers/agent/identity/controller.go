// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package identity keeps the table of known identities in the datapath: a packet that arrives through the tunnel with
// any other is dropped. Retired identities keep their meaning until their object is gone. Entry point: Reconciler.
package identity

import (
	"context"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/retry"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

// datapath is what the reconciler asks of the kernel.
type datapath interface {
	SyncIdentities(ids []dp.Identity) error
	PutIdentity(id dp.Identity) error
	DeleteIdentity(id dp.Identity) error
}

// Reconciler keeps the table of known identities.
type Reconciler struct {
	client   client.Client
	datapath datapath
	// writing: what was read from the cache must not be written over what was read later.
	writing sync.Mutex
}

// New returns a Reconciler that reads from c.
func New(c client.Client, d datapath) *Reconciler { return &Reconciler{client: c, datapath: d} }

// SetupWithManager makes the reconciler one of mgr's.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("identity").
		WithOptions(controller.Options{RateLimiter: retry.Limiter()}).
		For(&v1alpha1.CiliumIdentity{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
}

// Reconcile adds or removes one identity.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	number, ok := parse(req.Name)
	if !ok {
		return ctrl.Result{}, nil // the API allows only numbers as names
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	err := r.client.Get(ctx, req.NamespacedName, &v1alpha1.CiliumIdentity{})
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.datapath.DeleteIdentity(number)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.datapath.PutIdentity(number)
}

// Sync makes the table what the cache holds, all at once. The cache must have synced.
func (r *Reconciler) Sync(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	list := &v1alpha1.CiliumIdentityList{}
	if err := r.client.List(ctx, list); err != nil {
		return err
	}
	var numbers []dp.Identity
	for i := range list.Items {
		if number, ok := parse(list.Items[i].Name); ok {
			numbers = append(numbers, number)
		}
	}
	return r.datapath.SyncIdentities(numbers)
}

func parse(name string) (dp.Identity, bool) {
	number, err := strconv.ParseUint(name, 10, 24)
	return dp.Identity(number), err == nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
)

// retryLimiter is quick at first (a lost race is over within milliseconds) and patient in the end.
func retryLimiter() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](10*time.Millisecond, 30*time.Second)
}

// endpointChanges leaves out updates of the status, which the agent itself writes: the spec never changes, so a new
// deletionTimestamp is all there is to see.
func endpointChanges() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}})
}

// podChanges leaves out what does not matter to a pod's endpoint: nearly all updates of a Pod are of its status.
func podChanges() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || labelsChanged(e)
	}})
}

func labelChanges() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return true },
		UpdateFunc: labelsChanged,
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	})
}

func labelsChanged(e event.UpdateEvent) bool {
	return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels())
}

// inNamespace are the endpoints of a namespace: its labels are part of their identities.
func (r *Reconciler) inNamespace(_ context.Context, ns client.Object) []reconcile.Request {
	return r.where(func(a *attachment) bool { return a.name.Namespace == ns.GetName() })
}

// withIdentity are the endpoints that want the labels of an identity.
func (r *Reconciler) withIdentity(_ context.Context, obj client.Object) []reconcile.Request {
	id, ok := obj.(*v1alpha1.CiliumIdentity)
	if !ok {
		return nil
	}
	key := index.IdentityLabels(id).Key()
	return r.where(func(a *attachment) bool { return a.wants() == key })
}

func (r *Reconciler) where(match func(*attachment) bool) []reconcile.Request {
	var out []reconcile.Request
	for _, a := range r.attachments.all() {
		if match(a) {
			out = append(out, reconcile.Request{NamespacedName: types.NamespacedName(a.name)})
		}
	}
	return out
}

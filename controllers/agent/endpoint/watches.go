// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"hash/fnv"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
)

// namespaceSpread is the time over which the endpoints of a namespace follow a change of its labels.
const namespaceSpread = 30 * time.Second

// endpointChanged leaves out updates of the status, which the agent itself writes: the spec never changes, so a new
// deletionTimestamp is all there is to see.
func endpointChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

// podChanged leaves out what does not matter to a pod's endpoint: nearly all updates of a Pod are of its status.
func podChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || labelsChanged(e)
	}}
}

func labelsChanged(e event.UpdateEvent) bool {
	return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels())
}

// namespaceChanges wakes the endpoints of a namespace whose labels changed: they are part of identities. A namespace can
// have thousands of pods on hundreds of nodes, so the writes that follow are spread.
func (r *Reconciler) namespaceChanges() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if !labelsChanged(e) {
			return
		}
		for _, req := range r.where(func(a *attachment) bool { return a.name.Namespace == e.ObjectNew.GetName() }) {
			q.AddAfter(req, spread(req.NamespacedName))
		}
	}}
}

// spread is the endpoint's own place in the time over which the endpoints of a namespace are spread.
func spread(name types.NamespacedName) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name.String())) // a hash never fails to write
	return time.Duration(hash.Sum32()) * time.Microsecond % namespaceSpread
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
			out = append(out, reconcile.Request{NamespacedName: a.name})
		}
	}
	return out
}

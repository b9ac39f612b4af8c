// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package identity makes a CiliumIdentity for each set of labels that pods have, as soon as a pod appears, and retires
// and deletes those that no pod has. It keeps nothing in memory: what it must know stands in the objects.
package identity

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/conflict"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/identity"
)

const fieldOwner = client.FieldOwner("cilium-operator-identity")

// spread is over how long the pods of a namespace follow a change of its labels, so that the agents' writes do not come
// all at once.
const spread = 30 * time.Second

// workers are how many pods are reconciled at a time. Two that need the same new identity agree by its number.
const workers = 4

// Reconciler reconciles a Pod: the identity of its labels exists.
type Reconciler struct {
	client  client.Client
	numbers numbers
	events  events.EventRecorder
}

// New makes a Reconciler; live reads past the cache.
func New(c client.Client, live client.Reader, recorder events.EventRecorder) *Reconciler {
	return &Reconciler{client: c, numbers: numbers{client: c, live: live}, events: recorder}
}

// +kubebuilder:rbac:groups="",resources=pods;namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumconfigs,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumconfigs/status,verbs=patch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumidentities,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumidentities/status,verbs=patch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumendpoints,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("identity").
		For(&corev1.Pod{}, builder.WithPredicates(identityChanges())).
		Watches(&corev1.Namespace{}, r.followNamespace()).
		Watches(&v1alpha1.CiliumIdentity{}, handler.EnqueueRequestsFromMapFunc(r.users), builder.WithPredicates(losses())).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

// identityChanges lets a pod pass when it appears and when its labels change.
func identityChanges() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// losses lets an identity pass that agents can no longer choose.
func losses() predicate.Predicate {
	retired := func(obj client.Object) bool { return obj.(*v1alpha1.CiliumIdentity).Status.RetiredAt != nil }
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return retired(e.ObjectNew) && !retired(e.ObjectOld) },
	}
}

// users are the pods that have the labels of an identity. One that came while the identity was being retired found it
// still in force.
func (r *Reconciler) users(ctx context.Context, obj client.Object) []reconcile.Request {
	labels := index.IdentityLabels(obj.(*v1alpha1.CiliumIdentity))
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, client.InNamespace(labels[identity.KeyNamespace])); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the pods of an identity", "CiliumIdentity", obj.GetName())
		return nil
	}
	var requests []reconcile.Request
	for i := range pods.Items {
		if subset(labels, pods.Items[i].Labels) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&pods.Items[i])})
		}
	}
	return requests
}

// subset tells whether a pod has all labels of an identity that come from pods.
func subset(labels identity.Labels, pod map[string]string) bool {
	for k, v := range labels {
		if have, ok := pod[strings.TrimPrefix(k, identity.Source)]; !identity.Derived(k) && (!ok || have != v) {
			return false
		}
	}
	return true
}

// followNamespace wakes the pods of a namespace: at once when the namespace appears (they may have come before it),
// spread out when its labels change.
func (r *Reconciler) followNamespace() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	wake := func(ctx context.Context, namespace string, q queue, delay func(name string) time.Duration) {
		var pods corev1.PodList
		if err := r.client.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Listing the pods of a namespace", "Namespace", namespace)
			return
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(pod)}, delay(pod.Name))
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			wake(ctx, e.Object.GetName(), q, func(string) time.Duration { return 0 })
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) {
				wake(ctx, e.ObjectNew.GetName(), q, delayOf)
			}
		},
	}
}

// delayOf puts a name somewhere on the spread, always the same place.
func delayOf(name string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(name)) // A hash never fails to write.
	return spread * time.Duration(h.Sum32()%1000) / 1000
}

// Reconcile sees to it that the identity of a pod exists, under the filter in force and under the one that shall be.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	pod := &corev1.Pod{}
	if err := r.client.Get(ctx, req.NamespacedName, pod); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !translate.HasIdentity(pod) {
		return ctrl.Result{}, nil
	}
	cfg := &v1alpha1.CiliumConfig{}
	if err := r.client.Get(ctx, client.ObjectKey{Name: v1alpha1.ConfigName}, cfg); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // The census follows its creation.
	}
	namespace := &corev1.Namespace{}
	if err := r.client.Get(ctx, client.ObjectKey{Name: pod.Namespace}, namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // Its appearance wakes the pod.
	}
	for _, filter := range filters(cfg) {
		err := r.numbers.ensure(ctx, filter.Labels(translate.Pod(pod), namespace.Labels))
		if errors.Is(err, errExhausted) || apierrors.IsInvalid(err) {
			r.events.Eventf(pod, nil, corev1.EventTypeWarning, reasonOf(err), "MakeIdentity", "%s", err)
		}
		if apierrors.IsInvalid(err) {
			return ctrl.Result{}, reconcile.TerminalError(err) // Only other labels help.
		}
		if err != nil {
			return conflict.Requeue(ctrl.Result{}, fmt.Errorf("make the identity of pod %s: %w", req.NamespacedName, err))
		}
	}
	return ctrl.Result{}, nil
}

func reasonOf(err error) string {
	if errors.Is(err, errExhausted) {
		return v1alpha1.ReasonNumbersExhausted
	}
	return v1alpha1.EventIdentityRefused
}

// filters are the label filters under which pods have identities: the one in force, and the one to come.
func filters(cfg *v1alpha1.CiliumConfig) []identity.Filter {
	wanted := translate.WantedFilter(&cfg.Spec)
	if cfg.Status.IdentityFilter == nil || equal(translate.Filter(cfg.Status.IdentityFilter), wanted) {
		return []identity.Filter{wanted}
	}
	return []identity.Filter{translate.Filter(cfg.Status.IdentityFilter), wanted}
}

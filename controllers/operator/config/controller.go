// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package config creates CiliumConfig "default" where there is none, says whether it makes sense for this cluster, and
// counts which agents run it. It never changes what the user wrote.
package config

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1alpha1ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/status"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/conflict"
)

const fieldOwner = client.FieldOwner("cilium-operator-config")

// gather is for how long news of nodes are gathered, so that a rollout to many nodes is a write a second and not one a
// node.
const gather = time.Second

// Reconciler reconciles the only CiliumConfig.
type Reconciler struct {
	client client.Client
	events events.EventRecorder
	now    func() time.Time
	// services tells whether the API server has ServiceCIDRs.
	services bool
}

// New makes a Reconciler.
func New(c client.Client, recorder events.EventRecorder, clock func() time.Time) *Reconciler {
	return &Reconciler{client: c, events: recorder, now: clock}
}

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=servicecidrs,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumconfigs,verbs=get;list;watch;create
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumconfigs/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	kind := networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR").GroupKind()
	_, err := mgr.GetRESTMapper().RESTMapping(kind, networkingv1.SchemeGroupVersion.Version)
	if err != nil && !meta.IsNoMatchError(err) {
		return fmt.Errorf("ask for ServiceCIDRs: %w", err)
	}
	r.services = err == nil
	b := ctrl.NewControllerManagedBy(mgr).
		Named("config").
		For(&v1alpha1.CiliumConfig{}).
		Watches(&corev1.Node{}, later()).
		Watches(&v1alpha1.CiliumNode{}, later())
	if r.services {
		b = b.Watches(&networkingv1.ServiceCIDR{}, later())
	}
	return b.Complete(r)
}

// later wakes the controller for the only CiliumConfig, a little after the event.
func later() handler.EventHandler {
	add := func(q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: v1alpha1.ConfigName}}, gather)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q)
		},
		UpdateFunc: func(_ context.Context, _ event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q)
		},
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			add(q)
		},
	}
}

// Reconcile creates the CiliumConfig or judges it.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cluster, err := r.look(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	cfg := &v1alpha1.CiliumConfig{}
	err = r.client.Get(ctx, req.NamespacedName, cfg)
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.bootstrap(ctx, cluster)
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get the CiliumConfig: %w", err)
	}
	return conflict.Requeue(ctrl.Result{}, r.judge(ctx, cfg, cluster))
}

// cluster is what a configuration must fit.
type cluster struct {
	nodes       []corev1.Node
	ciliumNodes []v1alpha1.CiliumNode
	services    []networkingv1.ServiceCIDR
}

func (r *Reconciler) look(ctx context.Context) (cluster, error) {
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes); err != nil {
		return cluster{}, fmt.Errorf("list the Nodes: %w", err)
	}
	var ciliumNodes v1alpha1.CiliumNodeList
	if err := r.client.List(ctx, &ciliumNodes); err != nil {
		return cluster{}, fmt.Errorf("list the CiliumNodes: %w", err)
	}
	var services networkingv1.ServiceCIDRList
	if r.services {
		if err := r.client.List(ctx, &services); err != nil {
			return cluster{}, fmt.Errorf("list the ServiceCIDRs: %w", err)
		}
	}
	// In one order, so that of several faults the same one is told each time.
	slices.SortFunc(nodes.Items, func(a, b corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(ciliumNodes.Items, func(a, b v1alpha1.CiliumNode) int { return strings.Compare(a.Name, b.Name) })
	return cluster{nodes.Items, ciliumNodes.Items, services.Items}, nil
}

// bootstrap creates the configuration with pools for the families that the nodes have. Without any address of a node it
// waits for one.
func (r *Reconciler) bootstrap(ctx context.Context, c cluster) error {
	spec, ok := defaults(c.nodes)
	if !ok {
		return nil
	}
	cfg := &v1alpha1.CiliumConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ConfigName}, Spec: spec}
	if err := r.client.Create(ctx, cfg); err != nil {
		return fmt.Errorf("create the CiliumConfig: %w", client.IgnoreAlreadyExists(err))
	}
	ctrl.LoggerFrom(ctx).Info("Created the CiliumConfig with defaults", "ipam", spec.IPAM)
	return nil
}

// judge writes what became of the configuration.
func (r *Reconciler) judge(ctx context.Context, cfg *v1alpha1.CiliumConfig, c cluster) error {
	valid := validity(cfg, c)
	applied, current := application(cfg, c.ciliumNodes)
	now := metav1.NewTime(r.now())
	out := v1alpha1ac.CiliumConfigStatus().
		WithObservedGeneration(cfg.Generation).
		WithNodes(int32(len(c.ciliumNodes))).
		WithNodesCurrent(current)
	changed := cfg.Status.ObservedGeneration != cfg.Generation ||
		cfg.Status.Nodes != *out.Nodes || cfg.Status.NodesCurrent != current
	for _, condition := range []metav1.Condition{valid, applied} {
		condition.ObservedGeneration, condition.LastTransitionTime = cfg.Generation, now
		changed = status.SetCondition(&out.Conditions, cfg.Status.Conditions, condition) || changed
	}
	if !changed {
		return nil
	}
	r.tell(cfg, valid)
	apply := v1alpha1ac.CiliumConfig(cfg.Name).WithResourceVersion(cfg.ResourceVersion).WithStatus(out)
	if err := r.client.Status().Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write the status of the CiliumConfig: %w", err)
	}
	return nil
}

// tell sends an event when the configuration has become wrong, or wrong in another way.
func (r *Reconciler) tell(cfg *v1alpha1.CiliumConfig, valid metav1.Condition) {
	old := meta.FindStatusCondition(cfg.Status.Conditions, v1alpha1.ConditionValid)
	if valid.Status == metav1.ConditionFalse && (old == nil || old.Message != valid.Message) {
		r.events.Eventf(cfg, nil, corev1.EventTypeWarning, valid.Reason, "Validate", "%s", valid.Message)
	}
}

// application says which agents run this generation.
func application(cfg *v1alpha1.CiliumConfig, nodes []v1alpha1.CiliumNode) (metav1.Condition, int32) {
	var behind []string
	for _, n := range nodes {
		if n.Status.ConfigGeneration != cfg.Generation {
			behind = append(behind, n.Name)
		}
	}
	current := len(nodes) - len(behind)
	c := metav1.Condition{
		Type:    v1alpha1.ConditionApplied,
		Status:  metav1.ConditionTrue,
		Reason:  v1alpha1.ReasonAllNodesCurrent,
		Message: fmt.Sprintf("%d of %d nodes run generation %d", current, len(nodes), cfg.Generation),
	}
	if len(behind) > 0 {
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonRestartRequired
		c.Message += "; not yet: " + some(behind)
	}
	return c, int32(current)
}

// some lists the first few names and how many more there are.
func some(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

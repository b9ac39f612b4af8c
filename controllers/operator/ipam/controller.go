// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package ipam gives each CiliumNode its ranges of pod addresses: cut from the pools of CiliumConfig, or those of
// Node.spec.podCIDRs. It is the only writer of CiliumNode.spec.ipam and of the condition PoolAssigned.
package ipam

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1alpha1ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/status"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/conflict"
)

const fieldOwner = client.FieldOwner("cilium-operator-ipam")

// writeTimeout is shorter than the 5 s between the end of one leader's work and the start of the next one's: a range
// given by the former is there when the latter looks.
const writeTimeout = 4 * time.Second

// Reconciler reconciles a CiliumNode. It has one worker: the ranges are counted in memory, which is filled from the API
// server when it leads.
type Reconciler struct {
	client client.Client
	live   client.Reader
	events events.EventRecorder
	now    func() time.Time
	pools  pools
}

// New makes a Reconciler; live reads past the cache.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, clock func() time.Time) *Reconciler {
	return &Reconciler{client: c, live: live, events: recorder, now: clock}
}

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnodes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnodes/status,verbs=patch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumendpoints,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumconfigs,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumconfigs/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("ipam").
		For(&v1alpha1.CiliumNode{}).
		Watches(&corev1.Node{}, &handler.EnqueueRequestForObject{}).
		Watches(&v1alpha1.CiliumConfig{}, handler.EnqueueRequestsFromMapFunc(r.everyNode)).
		Complete(r)
}

func (r *Reconciler) everyNode(ctx context.Context, _ client.Object) []reconcile.Request {
	var nodes v1alpha1.CiliumNodeList
	if err := r.client.List(ctx, &nodes); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the CiliumNodes")
		return nil
	}
	var requests []reconcile.Request
	for i := range nodes.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&nodes.Items[i])})
	}
	return requests
}

// Reconcile gives a node its ranges, or takes them back from one that is gone.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cfg := &v1alpha1.CiliumConfig{}
	if err := r.client.Get(ctx, client.ObjectKey{Name: v1alpha1.ConfigName}, cfg); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // Its creation wakes every node.
	}
	if err := r.prepare(ctx, cfg); err != nil {
		return ctrl.Result{}, err
	}
	cn := &v1alpha1.CiliumNode{}
	err := r.client.Get(ctx, req.NamespacedName, cn)
	if apierrors.IsNotFound(err) {
		return conflict.Requeue(ctrl.Result{}, r.release(ctx, cfg, req.Name))
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get the CiliumNode: %w", err)
	}
	return conflict.Requeue(ctrl.Result{}, r.assign(ctx, cfg, cn))
}

// release makes the ranges of a node free once neither its CiliumNode nor its Node exists, and serves those who wait for
// one. A CiliumNode that was only deleted comes back, and gets the same ranges.
func (r *Reconciler) release(ctx context.Context, cfg *v1alpha1.CiliumConfig, name string) error {
	err := r.client.Get(ctx, client.ObjectKey{Name: name}, &corev1.Node{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	if had := r.pools.release(name); !had && cfg.Spec.IPAM.Mode == v1alpha1.IPAMClusterPool {
		return nil
	}
	var nodes v1alpha1.CiliumNodeList
	if err := r.client.List(ctx, &nodes); err != nil {
		return fmt.Errorf("list the CiliumNodes: %w", err)
	}
	for i := range nodes.Items {
		cn := &nodes.Items[i]
		if meta.IsStatusConditionFalse(cn.Status.Conditions, v1alpha1.ConditionPoolAssigned) {
			if err := r.assign(ctx, cfg, cn); err != nil {
				return err
			}
		}
	}
	return nil
}

// assign writes the ranges that the node should have, then says so.
func (r *Reconciler) assign(ctx context.Context, cfg *v1alpha1.CiliumConfig, cn *v1alpha1.CiliumNode) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	ranges, refused, err := r.decide(ctx, cfg, cn)
	if err != nil {
		return err
	}
	if refused == nil && !slices.Equal(ranges, cn.Spec.IPAM.PodCIDRs) {
		return r.give(ctx, cfg, cn, ranges) // The change wakes us again.
	}
	return r.report(ctx, cn, refused)
}

// refusal says why a node has not got what it should have.
type refusal struct{ reason, message string }

// decide says which ranges a node should have.
func (r *Reconciler) decide(
	ctx context.Context, cfg *v1alpha1.CiliumConfig, cn *v1alpha1.CiliumNode,
) ([]string, *refusal, error) {
	if refused := trusted(cfg); refused != nil && len(cn.Spec.IPAM.PodCIDRs) == 0 {
		return nil, refused, nil
	} else if refused != nil {
		return cn.Spec.IPAM.PodCIDRs, nil, nil // Nothing new, but what it has it keeps.
	}
	if cfg.Spec.IPAM.Mode == v1alpha1.IPAMKubernetes {
		return r.fromNode(ctx, cn)
	}
	ranges, refused := r.pools.assign(cn)
	return ranges, refused, nil
}

// trusted refuses a configuration of which is not known that it is valid in its present form.
func trusted(cfg *v1alpha1.CiliumConfig) *refusal {
	valid := meta.FindStatusCondition(cfg.Status.Conditions, v1alpha1.ConditionValid)
	switch {
	case valid == nil || valid.ObservedGeneration != cfg.Generation:
		return &refusal{v1alpha1.ReasonWaitingForConfig, "CiliumConfig default has not been checked yet"}
	case valid.Status != metav1.ConditionTrue:
		return &refusal{v1alpha1.ReasonInvalidConfig, "CiliumConfig default is not valid: " + valid.Message}
	}
	return nil
}

// give writes the ranges of a node. The configuration is marked before the first one, because from then on its pools are
// fixed.
func (r *Reconciler) give(ctx context.Context, cfg *v1alpha1.CiliumConfig, cn *v1alpha1.CiliumNode, cidrs []string) error {
	if cfg.Status.AllocatedAt == nil {
		mark := v1alpha1ac.CiliumConfig(cfg.Name).WithResourceVersion(cfg.ResourceVersion).
			WithStatus(v1alpha1ac.CiliumConfigStatus().WithAllocatedAt(metav1.NewTime(r.now())))
		if err := r.client.Status().Apply(ctx, mark, fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("mark the CiliumConfig as in use: %w", err)
		}
		cfg.Status.AllocatedAt = mark.Status.AllocatedAt
	}
	apply := v1alpha1ac.CiliumNode(cn.Name).WithUID(cn.UID).WithResourceVersion(cn.ResourceVersion).
		WithSpec(v1alpha1ac.CiliumNodeSpec().WithIPAM(v1alpha1ac.NodeIPAMSpec().WithPodCIDRs(cidrs...)))
	if err := r.client.Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("give %s to node %s: %w", strings.Join(cidrs, ", "), cn.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Gave ranges to the node", "CiliumNode", cn.Name, "podCIDRs", cidrs)
	return nil
}

// report writes the condition PoolAssigned, and sends an event when a node goes without.
func (r *Reconciler) report(ctx context.Context, cn *v1alpha1.CiliumNode, refused *refusal) error {
	want := metav1.Condition{
		Type: v1alpha1.ConditionPoolAssigned, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAssigned,
		Message: strings.Join(cn.Spec.IPAM.PodCIDRs, ", "),
	}
	if refused != nil {
		want.Status, want.Reason, want.Message = metav1.ConditionFalse, refused.reason, refused.message
	}
	want.ObservedGeneration, want.LastTransitionTime = cn.Generation, metav1.NewTime(r.now())
	out := v1alpha1ac.CiliumNodeStatus()
	if !status.SetCondition(&out.Conditions, cn.Status.Conditions, want) {
		return nil
	}
	if refused != nil && refused.reason != v1alpha1.ReasonWaitingForConfig {
		r.events.Eventf(cn, nil, corev1.EventTypeWarning, refused.reason, "AssignPool", "%s", refused.message)
	}
	apply := v1alpha1ac.CiliumNode(cn.Name).WithResourceVersion(cn.ResourceVersion).WithStatus(out)
	if err := r.client.Status().Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write the condition %s of node %s: %w", want.Type, cn.Name, err)
	}
	return nil
}

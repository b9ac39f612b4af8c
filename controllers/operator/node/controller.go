// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package node keeps a CiliumNode for each Node, and tells the rest of Kubernetes when a node has its pod network: it
// sets the Node's condition NetworkUnavailable to False and takes the taint away. It does not know about ranges of
// addresses.
package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	v1alpha1ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/conflict"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
)

// TaintNotReady is the taint with which a node registers until its pods can have a network.
const TaintNotReady = "node.cilium.io/agent-not-ready"

const fieldOwner = client.FieldOwner("cilium-operator-node")

// reasonNetworkReady is the reason of the Node's condition NetworkUnavailable=False.
const reasonNetworkReady = "CiliateIsUp"

// Reconciler reconciles a Node.
type Reconciler struct {
	client client.Client
	now    func() time.Time
}

// New makes a Reconciler.
func New(c client.Client, clock func() time.Time) *Reconciler {
	return &Reconciler{client: c, now: clock}
}

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=nodes/status,verbs=patch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnodes,verbs=get;list;watch;create;patch

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("node").
		For(&corev1.Node{}).
		Watches(&v1alpha1.CiliumNode{}, &handler.EnqueueRequestForObject{}).
		Complete(r)
}

// Reconcile makes the CiliumNode follow the Node, and the Node the agent. Each write wakes it again.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	node := &corev1.Node{}
	if err := r.client.Get(ctx, req.NamespacedName, node); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // The garbage collector removes the CiliumNode.
	}
	cn := &v1alpha1.CiliumNode{}
	if err := r.client.Get(ctx, req.NamespacedName, cn); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("get the CiliumNode: %w", err)
	}
	return conflict.Requeue(ctrl.Result{}, r.next(ctx, node, cn))
}

// next does the first thing that is left to do. An absent CiliumNode is an empty one.
func (r *Reconciler) next(ctx context.Context, node *corev1.Node, cn *v1alpha1.CiliumNode) error {
	switch {
	case !follows(cn, node):
		return r.apply(ctx, node)
	case !servesThisBoot(cn, node):
		return nil
	case !networkAvailable(node):
		return r.setNetworkAvailable(ctx, node)
	case slices.ContainsFunc(node.Spec.Taints, notReady):
		return r.untaint(ctx, node)
	}
	return nil
}

// follows tells whether a CiliumNode belongs to this very Node and has its addresses and its zone.
func follows(cn *v1alpha1.CiliumNode, node *corev1.Node) bool {
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
	return slices.Equal(cn.OwnerReferences, []metav1.OwnerReference{owner}) &&
		slices.Equal(cn.Spec.Addresses, translate.NodeAddresses(node)) && cn.Spec.Zone == node.Labels[corev1.LabelTopologyZone]
}

// apply makes or changes the CiliumNode. A Node that was registered anew takes over the CiliumNode of its name, because
// the pods that are still running on the machine have addresses of its range.
func (r *Reconciler) apply(ctx context.Context, node *corev1.Node) error {
	spec := v1alpha1ac.CiliumNodeSpec()
	for _, a := range translate.NodeAddresses(node) {
		spec.WithAddresses(v1alpha1ac.NodeAddress().WithType(a.Type).WithIP(a.IP))
	}
	if zone := node.Labels[corev1.LabelTopologyZone]; zone != "" {
		spec.WithZone(zone)
	}
	cn := v1alpha1ac.CiliumNode(node.Name).WithSpec(spec).WithOwnerReferences(
		metav1ac.OwnerReference().WithAPIVersion("v1").WithKind("Node").WithName(node.Name).WithUID(node.UID))
	if err := r.client.Apply(ctx, cn, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply the CiliumNode: %w", err)
	}
	return nil
}

// servesThisBoot tells whether the agent serves pods since the node's last boot. Ready=True from before it means
// nothing: neither device nor program has outlived it.
func servesThisBoot(cn *v1alpha1.CiliumNode, node *corev1.Node) bool {
	return meta.IsStatusConditionTrue(cn.Status.Conditions, v1alpha1.ConditionReady) &&
		cn.Status.BootID == node.Status.NodeInfo.BootID
}

func networkAvailable(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionFalse
	})
}

func (r *Reconciler) setNetworkAvailable(ctx context.Context, node *corev1.Node) error {
	now := metav1.NewTime(r.now())
	status := corev1ac.Node(node.Name).WithResourceVersion(node.ResourceVersion).WithStatus(corev1ac.NodeStatus().
		WithConditions(corev1ac.NodeCondition().
			WithType(corev1.NodeNetworkUnavailable).
			WithStatus(corev1.ConditionFalse).
			WithLastHeartbeatTime(now).
			WithLastTransitionTime(now).
			WithReason(reasonNetworkReady).
			WithMessage("The agent of this node serves pods")))
	if err := r.client.Status().Apply(ctx, status, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("set NetworkUnavailable=False: %w", err)
	}
	return nil
}

func notReady(t corev1.Taint) bool { return t.Key == TaintNotReady }

func (r *Reconciler) untaint(ctx context.Context, node *corev1.Node) error {
	clean := node.DeepCopy()
	clean.Spec.Taints = slices.DeleteFunc(clean.Spec.Taints, notReady)
	// The list of taints is replaced as a whole, so a change by another in between must be a conflict.
	patch := client.MergeFromWithOptions(node, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, clean, patch); err != nil {
		return fmt.Errorf("remove the taint %s: %w", TaintNotReady, err)
	}
	ctrl.LoggerFrom(ctx).Info("Removed the taint", "taint", TaintNotReady)
	return nil
}

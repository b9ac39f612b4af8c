// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package announcement

import (
	"context"
	"fmt"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	v1alpha1ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/status"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/conflict"
	"github.com/ciliate-io/ciliate/internal/service/translate"
)

const fieldOwner = client.FieldOwner("cilium-operator-announcement")

// Policies reconciles a CiliumL2AnnouncementPolicy: it writes the condition Valid.
type Policies struct {
	client client.Client
	now    func() time.Time
}

// NewPolicies makes the reconciler of policies.
func NewPolicies(c client.Client, clock func() time.Time) *Policies {
	return &Policies{client: c, now: clock}
}

// +kubebuilder:rbac:groups=cilium.io,resources=ciliuml2announcementpolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliuml2announcementpolicies/status,verbs=patch

// SetupWithManager registers the controller.
func (r *Policies) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("announcementpolicy").
		For(&v1alpha1.CiliumL2AnnouncementPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
}

// Reconcile says whether the policy makes sense.
func (r *Policies) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	policy := &v1alpha1.CiliumL2AnnouncementPolicy{}
	if err := r.client.Get(ctx, req.NamespacedName, policy); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	want := metav1.Condition{
		Type: v1alpha1.ConditionValid, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonValid, Message: "The policy makes sense",
		ObservedGeneration: policy.Generation, LastTransitionTime: metav1.NewTime(r.now()),
	}
	if reason, err := check(&policy.Spec); err != nil {
		want.Status, want.Reason, want.Message = metav1.ConditionFalse, reason, err.Error()+": nothing is announced"
	}
	out := v1alpha1ac.CiliumL2AnnouncementPolicyStatus()
	if !status.SetCondition(&out.Conditions, policy.Status.Conditions, want) {
		return ctrl.Result{}, nil
	}
	apply := v1alpha1ac.CiliumL2AnnouncementPolicy(policy.Name).WithResourceVersion(policy.ResourceVersion).WithStatus(out)
	if err := r.client.Status().Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return conflict.Requeue(ctrl.Result{}, fmt.Errorf("write the condition %s: %w", want.Type, err))
	}
	return ctrl.Result{}, nil
}

// check finds what in a policy makes no sense, and its reason.
func check(spec *v1alpha1.CiliumL2AnnouncementPolicySpec) (reason string, err error) {
	if _, err := translate.Selector(spec.ServiceSelector); err != nil {
		return v1alpha1.ReasonInvalidSelector, fmt.Errorf("serviceSelector: %w", err)
	}
	if _, err := translate.Selector(spec.NodeSelector); err != nil {
		return v1alpha1.ReasonInvalidSelector, fmt.Errorf("nodeSelector: %w", err)
	}
	for _, expression := range spec.Interfaces {
		if _, err := regexp.Compile(expression); err != nil {
			return v1alpha1.ReasonInvalidInterface, fmt.Errorf("interfaces: %w", err)
		}
	}
	return "", nil
}

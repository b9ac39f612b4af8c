// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1alpha1ac "github.com/ciliate-io/ciliate/api/applyconfiguration/api/v1alpha1"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/status"
	"github.com/ciliate-io/ciliate/internal/loadbalancer"
)

// writes sums up what writing came to: one that fails does not keep the others waiting.
type writes struct {
	*Reconciler
	errs  []error
	raced bool
}

func (w *writes) add(err error) {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		w.raced = true // Another writer was faster, or the object has gone: look again.
		return
	}
	w.errs = append(w.errs, err)
}

func (w *writes) result() (ctrl.Result, error) {
	if err := errors.Join(w.errs...); err != nil {
		return ctrl.Result{}, err
	}
	if w.raced {
		return ctrl.Result{RequeueAfter: pause}, nil
	}
	return ctrl.Result{}, nil
}

// reasonOf is a verdict in the words of the API.
func reasonOf(v loadbalancer.Verdict) string {
	switch v {
	case loadbalancer.NoPool:
		return v1alpha1.ReasonNoPool
	case loadbalancer.Exhausted:
		return v1alpha1.ReasonPoolExhausted
	case loadbalancer.NotInPool:
		return v1alpha1.ReasonAddressNotInPool
	case loadbalancer.InUse:
		return v1alpha1.ReasonAddressInUse
	case loadbalancer.Invalid:
		return v1alpha1.ReasonInvalidRequest
	default:
		return v1alpha1.ReasonSatisfied
	}
}

// tell writes to a Service what it has, and sends an event when it begins to lack something.
func (r *Reconciler) tell(ctx context.Context, svc *corev1.Service, answer loadbalancer.Answer) error {
	want := metav1.Condition{
		Type: v1alpha1.ConditionIPAMRequestSatisfied, Status: metav1.ConditionTrue, Reason: reasonOf(answer.Verdict),
		Message: answer.Message, ObservedGeneration: svc.Generation, LastTransitionTime: metav1.NewTime(r.now()),
	}
	if answer.Verdict != loadbalancer.Satisfied {
		want.Status = metav1.ConditionFalse
	}
	before := meta.FindStatusCondition(svc.Status.Conditions, want.Type)
	var conditions []metav1ac.ConditionApplyConfiguration
	changed := status.SetCondition(&conditions, svc.Status.Conditions, want)
	if !changed && slices.Equal(answer.Addrs, addresses(svc)) {
		return nil
	}
	out := corev1ac.ServiceStatus().WithConditions(&conditions[0])
	if len(answer.Addrs) > 0 {
		balancer := corev1ac.LoadBalancerStatus()
		for _, addr := range answer.Addrs {
			balancer.WithIngress(corev1ac.LoadBalancerIngress().WithIP(addr.String()).WithIPMode(corev1.LoadBalancerIPModeVIP))
		}
		out.WithLoadBalancer(balancer)
	}
	if err := r.writeService(ctx, svc, out); err != nil {
		return err
	}
	if want.Status == metav1.ConditionFalse && (before == nil || before.Reason != want.Reason) {
		r.events.Eventf(svc, nil, corev1.EventTypeWarning, want.Reason, "AssignAddress", "%s", want.Message)
	}
	return nil
}

// clear takes back what was written to a Service that gets no addresses from here any more.
func (r *Reconciler) clear(ctx context.Context, svc *corev1.Service) error {
	return r.writeService(ctx, svc, corev1ac.ServiceStatus())
}

func (r *Reconciler) writeService(ctx context.Context, svc *corev1.Service, out *corev1ac.ServiceStatusApplyConfiguration) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	apply := corev1ac.Service(svc.Name, svc.Namespace).WithResourceVersion(svc.ResourceVersion).WithStatus(out)
	if err := r.client.Status().Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write the addresses of Service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	return nil
}

// report writes the status of a pool if it changed.
func (r *Reconciler) report(ctx context.Context, p pool, usage loadbalancer.Usage) error {
	have := &p.object.Status
	out := v1alpha1ac.CiliumLoadBalancerIPPoolStatus().
		WithTotal(usage.Total).WithUsed(usage.Used).WithAvailable(usage.Total - usage.Used)
	changed := have.Total != usage.Total || have.Used != usage.Used || have.Available != usage.Total-usage.Used
	for _, want := range poolConditions(p, usage) {
		want.ObservedGeneration, want.LastTransitionTime = p.object.Generation, metav1.NewTime(r.now())
		if status.SetCondition(&out.Conditions, have.Conditions, want) {
			changed = true
		}
	}
	if !changed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	apply := v1alpha1ac.CiliumLoadBalancerIPPool(p.object.Name).WithResourceVersion(p.object.ResourceVersion).WithStatus(out)
	if err := r.client.Status().Apply(ctx, apply, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write the status of pool %s: %w", p.object.Name, err)
	}
	if p.conflict != "" && !meta.IsStatusConditionTrue(have.Conditions, v1alpha1.ConditionConflicting) {
		r.events.Eventf(p.object, nil, corev1.EventTypeWarning, v1alpha1.ReasonOverlap, "ComparePools", "%s", overlapMessage(p))
	}
	return nil
}

func poolConditions(p pool, usage loadbalancer.Usage) []metav1.Condition {
	valid := metav1.Condition{
		Type: v1alpha1.ConditionValid, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonValid, Message: "The pool makes sense",
	}
	if p.wrong != nil {
		valid.Status, valid.Reason, valid.Message = metav1.ConditionFalse, p.wrong.reason, p.wrong.message
	}
	conflicting := metav1.Condition{
		Type: v1alpha1.ConditionConflicting, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNoOverlap,
		Message: "No older pool has one of its addresses",
	}
	if p.conflict != "" {
		conflicting.Status, conflicting.Reason, conflicting.Message = metav1.ConditionTrue, v1alpha1.ReasonOverlap, overlapMessage(p)
	}
	exhausted := metav1.Condition{
		Type: v1alpha1.ConditionExhausted, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAddressesLeft,
		Message: "Some addresses are free",
	}
	if len(usage.Full) > 0 {
		var families []string
		for _, family := range usage.Full {
			families = append(families, family.String())
		}
		exhausted.Status, exhausted.Reason = metav1.ConditionTrue, v1alpha1.ReasonNoAddressLeft
		exhausted.Message = "Services have every address of " + strings.Join(families, " and ") + ": add a block, or another pool"
	}
	return []metav1.Condition{valid, conflicting, exhausted}
}

func overlapMessage(p pool) string {
	return "The older pool " + p.conflict + " has some of the addresses: the pool gives none until it shares none with it"
}

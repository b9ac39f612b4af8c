// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// wait says why a phase cannot go on yet; the zero value says that it is done. Something that is watched ends every
// wait.
type wait struct {
	reason, message string
}

// terminal says why a phase can never go on. The CNI plugin stops waiting for such an endpoint.
type terminal struct {
	reason, message string
}

func (t terminal) Error() string { return t.message }

// phase is one door on the way of a pod. It sets its own condition.
type phase struct {
	name string
	run  func(context.Context, *attachment) (wait, error)
}

func (r *Reconciler) phases() []phase {
	return []phase{
		{"pod", r.pod},
		{"address", r.address},
		{"identity", r.identity},
		{"interface", r.iface},
		{"policy", r.policy},
		{"program", r.program},
	}
}

// outcome is where the phases ended.
type outcome struct {
	wait wait
	err  error
}

func (o outcome) ready() bool { return o.err == nil && o.wait == wait{} }

// attach runs the phases in order and stops at the first that waits or fails.
func (r *Reconciler) attach(ctx context.Context, a *attachment) outcome {
	a.status.ObservedGeneration = a.cep.Generation
	a.status.PodUID = a.cep.Spec.PodUID
	a.status.ContainerID = a.cep.Spec.ContainerID
	for _, p := range r.phases() {
		start := r.Clock.Now()
		w, err := p.run(ctx, a)
		phaseSeconds.WithLabelValues(p.name).Observe(r.Clock.Since(start).Seconds())
		if err != nil {
			return outcome{err: fmt.Errorf("%s: %w", p.name, err)}
		}
		if w != (wait{}) {
			return outcome{wait: w}
		}
	}
	return outcome{}
}

// publish writes the status once, if it changed, and says when to look again.
func (r *Reconciler) publish(ctx context.Context, a *attachment, o outcome) (ctrl.Result, error) {
	var t terminal
	isTerminal := errors.As(o.err, &t)
	switch {
	case isTerminal:
		a.fail(t.reason, t.message)
		if err := r.undo(ctx, a); err != nil {
			return ctrl.Result{}, err
		}
		a.forget()
	case o.err != nil:
		a.fail(v1alpha1.ReasonDatapathError, o.err.Error())
	case o.wait != wait{}:
		a.fail(o.wait.reason, o.wait.message)
		if age := r.Clock.Since(a.cep.CreationTimestamp.Time); age < publishAfter {
			return ctrl.Result{RequeueAfter: publishAfter - age}, nil
		}
	default:
		a.ready()
	}
	if err := r.applyStatus(ctx, a); err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case isTerminal:
		return r.lookAgain(a), nil
	case o.err != nil:
		return ctrl.Result{}, o.err
	}
	return r.lookAgain(a), nil
}

// lookAgain is when an endpoint is compared with the world though nothing told of a change.
func (r *Reconciler) lookAgain(a *attachment) ctrl.Result {
	if a.podGone.IsZero() {
		return ctrl.Result{RequeueAfter: resync}
	}
	return ctrl.Result{RequeueAfter: max(podGrace-r.Clock.Since(a.podGone), resync/60)}
}

// policy makes the policy of the endpoint complete in the datapath before its device goes up. No kind of policy exists
// yet, so none selects the endpoint.
func (r *Reconciler) policy(_ context.Context, a *attachment) (wait, error) {
	a.set(v1alpha1.ConditionPolicyEnforced, true, v1alpha1.ReasonNoPolicySelects, "No policy selects the endpoint: everything is allowed")
	return wait{}, nil
}

// podIsOver tells whether all containers of the pod have ended for good.
func podIsOver(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

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
		{"sandbox", r.sandbox},
		{"pod", r.pod},
		{"earlier", r.earlier},
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

// attach runs the phases in order and stops at the first that waits or fails.
func (r *Reconciler) attach(ctx context.Context, a *attachment) outcome {
	a.status.ObservedGeneration = a.cep.Generation
	a.status.PodUID = a.cep.Spec.PodUID
	a.status.ContainerID = a.cep.Spec.ContainerID
	if !a.served.Load() {
		r.busy.Store(true)
	}
	for _, p := range r.phases() {
		start := r.Clock.Now()
		w, err := p.run(ctx, a)
		r.phaseSeconds.WithLabelValues(p.name).Observe(r.Clock.Since(start).Seconds())
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
	switch {
	case errors.As(o.err, &t):
		if err := r.giveUp(ctx, a, t); err != nil {
			return ctrl.Result{}, err
		}
		return r.lookAgain(a, o), r.writeStatus(ctx, a)
	case o.err != nil:
		a.fail(v1alpha1.ReasonDatapathError, o.err.Error())
	case o.wait != wait{}:
		a.fail(o.wait.reason, o.wait.message)
	default:
		a.ready()
		return r.lookAgain(a, o), r.writeStatus(ctx, a)
	}
	if age := r.Clock.Since(a.seen); age < publishAfter && o.err == nil {
		return ctrl.Result{RequeueAfter: publishAfter - age}, nil
	} else if age < publishAfter {
		return ctrl.Result{}, o.err
	}
	return r.lookAgain(a, o), errors.Join(o.err, r.writeStatus(ctx, a))
}

// giveUp takes an endpoint that can never work out of the datapath, once.
func (r *Reconciler) giveUp(ctx context.Context, a *attachment, t terminal) error {
	a.fail(t.reason, t.message)
	if err := r.undo(ctx, a); err != nil {
		return err
	}
	a.forget()
	return nil
}

// lookAgain is when an endpoint is compared with the world though nothing told of a change.
func (r *Reconciler) lookAgain(a *attachment, o outcome) ctrl.Result {
	after := resync
	if o.wait != (wait{}) {
		after = waitAgain
	}
	if missed := r.Clock.Since(a.podGone); !a.podGone.IsZero() && missed < podGrace {
		after = min(after, podGrace-missed)
	}
	return ctrl.Result{RequeueAfter: after}
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

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package node

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/retry"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// reportEvery is how often mere numbers (endpoints, addresses, map entries) are written to the status.
const reportEvery = time.Minute

// datapath is what the reconciler asks of the kernel.
type datapath interface {
	EnsureNode(ctx context.Context, node dp.Node) (dp.NodeState, error)
	ForeignServices() (bool, string, error)
	MapUsage() ([]dp.MapUsage, error)
}

// Options are what a Reconciler needs.
type Options struct {
	Client    client.Client
	Datapath  datapath
	Addresses *ipam.Allocator
	Clock     clock.PassiveClock
	NodeName  string
	BootID    string
	Version   string
	// Config is the configuration that the agent started with; the fields that need a restart stay as they were then.
	Config v1alpha1.CiliumConfig
	// Changes wakes the reconciler when a device, address or route of the node changed.
	Changes <-chan struct{}
	// Attached is the number of endpoints that the agent serves; CNI says whether the runtime can call the agent.
	Attached func() int
	CNI      func() (ok bool, reason, message string)
	// Services is what is programmed of them.
	Services func() Services
	// FilterChanged is called when another identity filter is in force.
	FilterChanged func(context.Context) error
}

// Services counts what is programmed.
type Services struct {
	Programmed, Backends int
	// Short are those for which there was no room, Contested those that lack a place of theirs, with who has it.
	Short, Contested []string
	// Problem is what went wrong with the last change; empty if nothing did.
	Problem string
}

// Reconciler programs the node and reports on it. It has one request: the node's own name.
type Reconciler struct {
	Options
	State
	changed  chan event.GenericEvent
	reported time.Time
	// plain are the cards that should forward by XDP and do not.
	plain []dp.PlainDevice
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	r := &Reconciler{Options: o, State: State{programmed: make(chan struct{})}, changed: make(chan event.GenericEvent, 1)}
	r.setConfig(&r.Config, &r.Config) // in force until another is seen, even if the object is deleted meanwhile
	return r
}

// SetupWithManager makes the reconciler one of mgr's.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	own := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: r.NodeName}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("node").
		WithOptions(controller.Options{RateLimiter: retry.Limiter()}).
		Watches(&v1alpha1.CiliumNode{}, own, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.CiliumConfig{}, own).
		WatchesRawSource(source.Channel(r.changed, own)).
		Complete(r)
}

// Start passes on what the kernel tells, until ctx ends.
func (r *Reconciler) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, more := <-r.Changes:
			if !more {
				return nil
			}
			r.Wake()
		}
	}
}

// Wake reconciles the node soon.
func (r *Reconciler) Wake() {
	select {
	case r.changed <- event.GenericEvent{Object: &v1alpha1.CiliumNode{}}:
	default: // one is waiting already
	}
}

// Reconcile programs the node and reports.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	node := &v1alpha1.CiliumNode{}
	if err := r.Client.Get(ctx, types.NamespacedName{Name: r.NodeName}, node); err != nil {
		if apierrors.IsNotFound(err) {
			r.setReason("CiliumNode " + r.NodeName + " does not exist yet: the operator makes it")
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	if err := r.readConfig(ctx); err != nil {
		return ctrl.Result{}, err
	}
	status := node.Status.DeepCopy()
	programErr := r.program(ctx, node, status)
	if programErr == nil && r.takesOver(node) {
		return ctrl.Result{}, nil // serving wakes us
	}
	r.describe(node, status, programErr)
	reportErr := r.report(ctx, node, status)
	if err := passing(programErr); err != nil {
		return ctrl.Result{}, errors.Join(err, reportErr)
	}
	return retry.Result(ctrl.Result{RequeueAfter: reportEvery}, reportErr)
}

// takesOver tells whether a restarted agent is about to serve again: until it does, or cannot, the last agent's word
// stands, so that a restart is not seen.
func (r *Reconciler) takesOver(node *v1alpha1.CiliumNode) bool {
	_, reason, _ := r.CNI()
	return reason == v1alpha1.ReasonWaitingForDatapath && node.Status.BootID == r.BootID
}

// readConfig takes over the live parts of the configuration.
func (r *Reconciler) readConfig(ctx context.Context) error {
	config := &v1alpha1.CiliumConfig{}
	if err := r.Client.Get(ctx, types.NamespacedName{Name: v1alpha1.ConfigName}, config); err != nil {
		return client.IgnoreNotFound(err) // deleted by mistake: the operator makes another; keep what is in force
	}
	if !r.setConfig(config, &r.Config) {
		return nil
	}
	return r.FilterChanged(ctx)
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/internal/retry"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

const (
	// workers is how many endpoints are attached at once: enough to hide the apiserver's latency, few enough that a
	// burst of 50 pods does not starve the kernel's rtnl lock.
	workers = 16
	// resync is how often an attached endpoint is compared with the kernel and repaired.
	resync = time.Minute
	// publishAfter is how old an endpoint must be before a passing reason to wait is written to its status: most pass
	// within milliseconds, and a write costs more than they are worth.
	publishAfter = time.Second
	// waitAgain is how soon a wait is looked at again, should nothing that is watched end it.
	waitAgain = 5 * time.Second
	// podGrace is how long a Pod must be gone before its endpoint is ended without a DEL.
	podGrace = 30 * time.Second
)

// datapath is what the reconciler asks of the kernel.
type datapath interface {
	EnsureInterface(ctx context.Context, ep dp.Endpoint) (dp.Interface, error)
	EnsureEndpoint(ctx context.Context, ep dp.Endpoint, ifc dp.Interface) error
	SettleEndpoint(ctx context.Context) error
	RemoveEndpoint(ctx context.Context, ep dp.Endpoint) error
	DeleteInterface(ctx context.Context, hostIfName string) error
	Endpoints(ctx context.Context) ([]dp.Observed, error)
}

// addresses hands out the pool of this node. An owner is the UID of a CiliumEndpoint.
type addresses interface {
	Claim(owner string, family ipam.Family) (netip.Addr, error)
	Adopt(owner string, addr netip.Addr) error
	Cool(owner string)
	Free(owner string)
}

// localNode is what the node's own reconciler has programmed.
type localNode interface {
	// Routers are the router addresses, one for each family that pods get; none while the node has no pool.
	Routers() []netip.Addr
	// Filter is the label filter in force; false while there is none.
	Filter() (identity.Filter, bool)
}

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache, Live from the apiserver.
	Client client.Client
	Live   client.Reader

	Datapath  datapath
	Addresses addresses
	Node      localNode
	Recorder  events.EventRecorder
	Clock     clock.WithTicker

	NodeName string
	// Tombstones is the folder in which the CNI plugin leaves what it was told to delete.
	Tombstones Tombstones
	// NetnsDir is where this process sees the network namespaces of pods.
	NetnsDir string
}

// Reconciler attaches and detaches the endpoints of this node.
type Reconciler struct {
	Options
	attachments  attachments
	strays       strays
	trash        *trash
	busy         atomic.Bool // an endpoint came or went since settle looked last
	wake         chan event.GenericEvent
	phaseSeconds *prometheus.HistogramVec
}

// New returns a Reconciler that does nothing until Serve is called.
func New(o Options) *Reconciler {
	r := &Reconciler{
		Options: o, attachments: newAttachments(), wake: make(chan event.GenericEvent, 1024), phaseSeconds: newPhaseSeconds(),
	}
	r.trash = newTrash(o.Datapath.DeleteInterface, r.freed, o.Clock)
	return r
}

// SetupWithManager makes the reconciler one of mgr's.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	for _, runnable := range []manager.RunnableFunc{r.trash.Start, r.watchTombstones, r.settle} {
		if err := mgr.Add(runnable); err != nil {
			return err
		}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("endpoint").
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, RateLimiter: retry.Limiter()}).
		For(&v1alpha1.CiliumEndpoint{}, builder.WithPredicates(endpointChanged())).
		Watches(&corev1.Pod{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(podChanged())).
		Watches(&corev1.Namespace{}, r.namespaceChanges()).
		Watches(&v1alpha1.CiliumIdentity{}, handler.EnqueueRequestsFromMapFunc(r.withIdentity)).
		WatchesRawSource(source.Channel(r.wake, &handler.EnqueueRequestForObject{})).
		Complete(r)
}

// Reconcile brings one endpoint of this node to where its object says.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if !r.attachments.serving() {
		return ctrl.Result{}, nil // Serve wakes every endpoint
	}
	return retry.Result(r.reconcile(ctx, req.NamespacedName))
}

func (r *Reconciler) reconcile(ctx context.Context, name types.NamespacedName) (ctrl.Result, error) {
	cep := &v1alpha1.CiliumEndpoint{}
	if err := r.Client.Get(ctx, name, cep); err != nil {
		if apierrors.IsNotFound(err) {
			return r.vanished(ctx, name)
		}
		return ctrl.Result{}, err
	}
	if old := r.attachments.get(name); old != nil && old.cepUID != cep.UID {
		if err := r.undo(ctx, old); err != nil {
			return ctrl.Result{}, err
		}
		r.attachments.drop(old)
	}
	if !cep.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, cep)
	}
	if r.Tombstones.Has(cep.Spec.ContainerID, cep.Spec.IfName) {
		return ctrl.Result{}, r.bury(ctx, cep)
	}
	a := r.attachments.ensure(cep, r.Clock.Now())
	if err := r.findPod(ctx, a); err != nil {
		return ctrl.Result{}, err
	}
	if r.isOrphan(a) {
		return ctrl.Result{}, r.deleteObject(ctx, cep, "Deleting the endpoint of a pod that is gone")
	}
	return r.publish(ctx, a, r.attach(ctx, a))
}

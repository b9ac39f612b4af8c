// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package operator is the cluster's half of Ciliate: the controllers of which one leader runs in a cluster. Entry points:
// Options for the manager, Setup for what it runs.
package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	"github.com/ciliate-io/ciliate/controllers/internal/schema"
	"github.com/ciliate-io/ciliate/controllers/operator/announcement"
	"github.com/ciliate-io/ciliate/controllers/operator/config"
	"github.com/ciliate-io/ciliate/controllers/operator/endpoint"
	"github.com/ciliate-io/ciliate/controllers/operator/identity"
	"github.com/ciliate-io/ciliate/controllers/operator/ipam"
	"github.com/ciliate-io/ciliate/controllers/operator/loadbalancer"
	"github.com/ciliate-io/ciliate/controllers/operator/node"
	"github.com/ciliate-io/ciliate/controllers/operator/service"
)

// LeaseName is the name of the Lease that the leader holds.
const LeaseName = "cilium-operator"

// How long a leader is believed to live without news, until when it tries to send some, and how often. A leader that
// cannot stops 5 s before another can start.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// Deps are what the controllers need beside the manager.
type Deps struct {
	// Clock tells the time.
	Clock func() time.Time
	// Metrics gets the operator's own metrics.
	Metrics prometheus.Registerer
}

// Scheme knows the kinds that the operator works with.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	return s, errors.Join(
		corev1.AddToScheme(s), coordinationv1.AddToScheme(s), eventsv1.AddToScheme(s), networkingv1.AddToScheme(s),
		v1alpha1.AddToScheme(s),
	)
}

// Options are the manager's, for a Lease in this namespace.
func Options(scheme *runtime.Scheme, leaseNamespace string) manager.Options {
	duration, deadline, period := leaseDuration, renewDeadline, retryPeriod
	return manager.Options{
		Scheme:                        scheme,
		MapperProvider:                mapper(scheme),
		Cache:                         cacheOptions(),
		LeaderElection:                true,
		LeaderElectionID:              LeaseName,
		LeaderElectionNamespace:       leaseNamespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &duration,
		RenewDeadline:                 &deadline,
		RetryPeriod:                   &period,
	}
}

// Setup makes mgr run the operator as soon as it leads and the CRDs are ours and current, and makes its readiness say why
// they are not.
func Setup(mgr ctrl.Manager, deps Deps) error {
	g := &gate{
		live: mgr.GetAPIReader(), elected: mgr.Elected(),
		open: func(ctx context.Context) error { return setupControllers(ctx, mgr, deps) },
	}
	g.shut.Store(new(errors.New("the CRDs have not been checked yet")))
	return errors.Join(
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("schema", g.ready),
		mgr.Add(g),
	)
}

// setupControllers is the list of the cluster's controllers.
func setupControllers(ctx context.Context, mgr ctrl.Manager, deps Deps) error {
	indexer, c, live := mgr.GetFieldIndexer(), mgr.GetClient(), mgr.GetAPIReader()
	recorder := mgr.GetEventRecorder("cilium-operator")
	endpoints := endpoint.New(c, live, recorder, deps.Clock)
	return errors.Join(
		deps.Metrics.Register(&clusterMetrics{cache: mgr.GetCache()}),
		endpoints.RegisterMetrics(deps.Metrics),

		indexer.IndexField(ctx, &v1alpha1.CiliumEndpoint{}, index.EndpointNode, index.EndpointNodeOf),
		indexer.IndexField(ctx, &v1alpha1.CiliumIdentity{}, index.IdentityKey, index.IdentityKeyOf),
		indexer.IndexField(ctx, &corev1.Pod{}, endpoint.AgentNode, endpoint.AgentNodeOf),

		config.New(c, recorder, deps.Clock).SetupWithManager(mgr),
		node.New(c, deps.Clock).SetupWithManager(mgr),
		ipam.New(c, live, recorder, deps.Clock).SetupWithManager(mgr),
		identity.New(c, live, recorder).SetupWithManager(mgr),
		identity.NewCensus(c, live, deps.Clock).SetupWithManager(mgr),
		endpoints.SetupWithManager(mgr),
		loadbalancer.New(c, live, recorder, deps.Clock).SetupWithManager(mgr),
		service.New(c, recorder).SetupWithManager(mgr),
		announcement.New(c, live).SetupWithManager(mgr),
		announcement.NewPolicies(c, deps.Clock).SetupWithManager(mgr),
	)
}

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get

// gate keeps the controllers from CRDs that are not ours or too old: acting on Cilium's would destroy its state, and
// fields that the API server prunes would be written for ever. It keeps them from a replica that does not lead, too:
// what they watch, every pod and endpoint of the cluster, would be sent to it and held for the day when it does.
type gate struct {
	live    client.Reader
	elected <-chan struct{}
	open    func(context.Context) error
	shut    atomic.Pointer[error]
}

// How often the CRDs are checked until they are found well, and from then on.
const (
	checkSoon  = 2 * time.Second
	checkLater = time.Minute
)

// NeedLeaderElection is false: every replica is ready or says why not.
func (g *gate) NeedLeaderElection() bool { return false }

// Start opens the gate once. Should the CRDs become another's later, it ends the process, which then waits here.
func (g *gate) Start(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx)
	elected, leads, opened := g.elected, false, false
	for {
		pause, err := checkLater, schema.Check(ctx, g.live)
		switch {
		case err == nil:
			if leads && !opened {
				if err := g.open(ctx); err != nil {
					return fmt.Errorf("start the controllers: %w", err)
				}
				opened = true
			}
			g.shut.Store(nil)
		case opened && foreign(err):
			return fmt.Errorf("the CRDs have changed: %w", err)
		case !opened:
			log.Info("Waiting for the CRDs", "because", err.Error())
			g.shut.Store(&err)
			pause = checkSoon
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-elected:
			elected, leads = nil, true
		case <-timer.C:
		}
		timer.Stop()
	}
}

// foreign tells a verdict about the CRDs from an API server that does not answer.
func foreign(err error) bool { return errors.Is(err, schema.ErrUnfit) }

func (g *gate) ready(*http.Request) error {
	if err := g.shut.Load(); err != nil {
		return *err
	}
	return nil
}

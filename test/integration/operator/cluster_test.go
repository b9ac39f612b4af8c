// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator"
	"github.com/ciliate-io/ciliate/internal/logging"
	"github.com/ciliate-io/ciliate/test/build"
)

// apiServer is the one API server of this package.
//
//nolint:gochecknoglobals // TestMain has no other way to hand it to the tests.
var apiServer *rest.Config

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS is not set: run make test-integration, or set it to what hack/tools/build.sh --bin-dir prints")
		return 1
	}
	ctrl.SetLogger(logging.New("info"))
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	config, err := env.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the API server:", err)
		return 1
	}
	config.QPS = -1
	apiServer = config
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
		return 1
	}
	return code
}

// stopwatch is the operator's clock: the real one and what a test adds.
type stopwatch struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (s *stopwatch) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

func (s *stopwatch) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// cluster is the API server as a test uses it, with a namespace of its own.
type cluster struct {
	client.WithWatch
	t         *testing.T
	namespace string
	clock     *stopwatch
	// start is when the test began, to tell its events from others'.
	start time.Time
	// metrics are those of the operator that was started last.
	metrics *prometheus.Registry
}

// newCluster is empty: whatever a former test left is removed.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	scheme, err := operator.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(apiServer, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	cl := &cluster{WithWatch: c, t: t, clock: &stopwatch{}, start: time.Now().Add(-time.Second)}
	cl.wipe()
	t.Cleanup(cl.wipe)
	ns := &corev1.Namespace{}
	ns.GenerateName = "test-"
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	cl.namespace = ns.Name
	return cl
}

// wipe removes all objects that tests make, finalizers or not.
func (c *cluster) wipe() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), time.Minute)
	defer cancel()
	var endpoints v1alpha1.CiliumEndpointList
	c.check(c.List(ctx, &endpoints))
	for i := range endpoints.Items {
		ep := &endpoints.Items[i]
		patch := client.MergeFrom(ep.DeepCopy())
		ep.Finalizers = nil
		c.check(client.IgnoreNotFound(c.Patch(ctx, ep, patch)))
	}
	var namespaces corev1.NamespaceList
	c.check(c.List(ctx, &namespaces))
	for _, ns := range namespaces.Items {
		in := client.InNamespace(ns.Name)
		c.check(c.DeleteAllOf(ctx, &v1alpha1.CiliumEndpoint{}, in))
		c.check(c.DeleteAllOf(ctx, &corev1.Pod{}, in, client.GracePeriodSeconds(0)))
		if ns.Name != metav1.NamespaceDefault { // The API server's own is there.
			c.check(c.DeleteAllOf(ctx, &corev1.Service{}, in))
		}
	}
	c.check(c.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(corev1.NamespaceNodeLease)))
	c.check(c.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(metav1.NamespaceSystem), client.HasLabels{v1alpha1.AnnouncementServiceLabel}))
	for _, kind := range []client.Object{
		&corev1.Node{}, &v1alpha1.CiliumNode{}, &v1alpha1.CiliumIdentity{}, &v1alpha1.CiliumConfig{},
		&v1alpha1.CiliumLoadBalancerIPPool{}, &v1alpha1.CiliumL2AnnouncementPolicy{},
	} {
		c.check(c.DeleteAllOf(ctx, kind))
	}
}

func (c *cluster) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// name is a name in the test's namespace, for package build.
func (c *cluster) name(short string) string { return c.namespace + "/" + short }

// make creates an object with its status.
func (c *cluster) make(objects ...client.Object) {
	c.t.Helper()
	for _, obj := range objects {
		withStatus := obj.DeepCopyObject().(client.Object)
		obj.SetUID("")
		c.check(c.Create(c.t.Context(), obj))
		withStatus.SetUID(obj.GetUID())
		withStatus.SetResourceVersion(obj.GetResourceVersion())
		err := c.Status().Update(c.t.Context(), withStatus)
		if !apierrors.IsNotFound(err) { // Some kinds have no status.
			c.check(err)
		}
	}
}

// pod makes a pod and returns it as the API server has it.
func (c *cluster) pod(b *build.PodBuilder) *corev1.Pod {
	c.t.Helper()
	pod := b.Obj()
	c.make(pod)
	return pod
}

// remove deletes objects at once.
func (c *cluster) remove(objects ...client.Object) {
	c.t.Helper()
	for _, obj := range objects {
		c.check(c.Delete(c.t.Context(), obj, client.GracePeriodSeconds(0)))
	}
}

// get reads an object again.
func (c *cluster) get(obj client.Object) error {
	return c.Get(c.t.Context(), client.ObjectKeyFromObject(obj), obj)
}

// operator runs an operator until the test ends or the returned function is called, which waits for its end.
func (c *cluster) operator(change ...func(*manager.Options)) (stop func()) {
	c.t.Helper()
	scheme, err := operator.Scheme()
	c.check(err)
	options := operator.Options(scheme, "kube-system")
	options.LeaderElection = false
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	options.HealthProbeBindAddress = "0"
	options.Controller.SkipNameValidation = new(true)
	for _, f := range change {
		f(&options)
	}
	mgr, err := ctrl.NewManager(apiServer, options)
	c.check(err)
	c.metrics = prometheus.NewRegistry()
	c.check(operator.Setup(mgr, operator.Deps{Clock: c.clock.now, Metrics: c.metrics}))
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && options.LeaderElectionReleaseOnCancel {
			c.t.Errorf("the operator ended with: %v", err)
		}
	})
	c.t.Cleanup(stop)
	return stop
}

// gone tells whether an object does not exist.
func (c *cluster) gone(obj client.Object) error {
	err := c.get(obj)
	if err == nil {
		return fmt.Errorf("%s is there", obj.GetName())
	}
	return client.IgnoreNotFound(err)
}

// eventually waits until holds returns nil.
func (c *cluster) eventually(what string, holds func() error) {
	c.t.Helper()
	c.within(20*time.Second, what, holds)
}

func (c *cluster) within(limit time.Duration, what string, holds func() error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-tick.C:
		}
	}
}

// always sees to it that holds stays nil for a second.
func (c *cluster) always(what string, holds func() error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := holds(); err != nil {
			c.t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// in is the same cluster for a subtest.
func (c *cluster) in(t *testing.T) *cluster {
	sub := *c
	sub.t = t
	return &sub
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package service

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent"
	agentservice "github.com/ciliate-io/ciliate/controllers/agent/service"
	"github.com/ciliate-io/ciliate/internal/config"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
	"github.com/ciliate-io/ciliate/internal/service"
)

const nodeName = "node1"

// recorder is a datapath that keeps every difference.
type recorder struct {
	*fake.Datapath
	mu    sync.Mutex
	diffs []service.Diff
}

func (r *recorder) WriteServices(d service.Diff) error {
	r.mu.Lock()
	r.diffs = append(r.diffs, d)
	r.mu.Unlock()
	return r.Datapath.WriteServices(d)
}

// written counts what was written since the last call: entries put and deleted, in how many calls.
func (r *recorder) written() (put, deleted, calls int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.diffs {
		put += len(d.PutBackends) + len(d.PutFrontends)
		deleted += len(d.DeleteBackends) + len(d.DeleteFrontends)
	}
	calls = len(r.diffs)
	r.diffs = nil
	return put, deleted, calls
}

// cluster is an API server, and the service controller of one node on it.
type cluster struct {
	client     client.Client
	cached     client.Client
	datapath   *recorder
	reconciler *agentservice.Reconciler
}

func start(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run make test-integration, or set it to what hack/tools/build.sh --bin-dir prints")
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	env.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.96.0.0/16")
	rc, err := env.Start()
	if err != nil {
		t.Fatalf("start the API server: %v", err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	ctrl.SetLogger(logr.Discard()) // what fails, fails the test
	rc.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		must(t, add(scheme))
	}
	c := &cluster{datapath: &recorder{Datapath: fake.New()}}
	c.client, err = client.New(rc, client.Options{Scheme: scheme})
	must(t, err)
	again := func(o *ctrl.Options) { o.Controller.SkipNameValidation = new(true) } // each test has its own
	mgr, _, err := agent.NewManager(t.Context(), rc, scheme, config.Agent{NodeName: nodeName, MetricsAddr: "0"}, again)
	must(t, err)
	c.cached = mgr.GetClient()
	c.reconciler = c.newReconciler()
	must(t, c.reconciler.SetupWithManager(mgr))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	})
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		t.Fatal("the cache did not sync")
	}
	return c
}

// newReconciler is one over the same datapath, as after a restart.
func (c *cluster) newReconciler() *agentservice.Reconciler {
	return agentservice.New(agentservice.Options{
		Client: c.cached, Datapath: c.datapath, Clock: clock.RealClock{}, NodeName: nodeName, Changed: func() {},
	})
}

func endpointAddr(service, endpoint int) string {
	return fmt.Sprintf("10.%d.%d.%d", 1+endpoint, service/250, 1+service%250)
}

// create makes a Service with endpoints; numbers name them.
func (c *cluster) create(t *testing.T, number, endpoints int) {
	t.Helper()
	name := fmt.Sprint("svc-", number)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	must(t, c.client.Create(t.Context(), svc))
	port, portName := int32(8080), "http"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
	for i := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{endpointAddr(number, i)}})
	}
	must(t, c.client.Create(t.Context(), slice))
}

// change reads a slice and writes it back.
func (c *cluster) change(t *testing.T, number int, change func(*discoveryv1.EndpointSlice)) {
	t.Helper()
	slice := &discoveryv1.EndpointSlice{}
	must(t, c.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: fmt.Sprint("svc-", number)}, slice))
	change(slice)
	must(t, c.client.Update(t.Context(), slice))
}

// state is the datapath's tables in words: the backends behind each frontend.
func (c *cluster) state(t *testing.T) map[string]map[string]bool {
	t.Helper()
	state, err := c.datapath.Services()
	must(t, err)
	out := map[string]map[string]bool{}
	slots := 0
	for frontend, entry := range state.Frontends {
		behind := map[string]bool{}
		for i := range entry.Count {
			behind[state.Backends[service.Slot{ID: entry.ID, Index: i}].String()] = true
		}
		out[frontend.Addr.String()] = behind
		slots += int(entry.Count)
	}
	if slots != len(state.Backends) {
		t.Errorf("%d places of backends are filled, %d are behind frontends", len(state.Backends), slots)
	}
	return out
}

// wanted is the same by the API server's own objects.
func (c *cluster) wanted(t *testing.T) map[string]map[string]bool {
	t.Helper()
	services, slices := &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}
	must(t, c.client.List(t.Context(), services))
	must(t, c.client.List(t.Context(), slices))
	behind := map[string]map[string]bool{}
	for _, slice := range slices.Items {
		name := slice.Labels[discoveryv1.LabelServiceName]
		if behind[name] == nil {
			behind[name] = map[string]bool{}
		}
		for _, e := range slice.Endpoints {
			behind[name][netip.AddrPortFrom(netip.MustParseAddr(e.Addresses[0]), uint16(*slice.Ports[0].Port)).String()] = true
		}
	}
	out := map[string]map[string]bool{}
	for _, svc := range services.Items {
		out[fmt.Sprintf("%s:%d", svc.Spec.ClusterIP, svc.Spec.Ports[0].Port)] = behind[svc.Name]
	}
	return out
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, within time.Duration, check func() string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = check(); last == "" {
			return
		}
	}
	t.Fatalf("%s: not after %s: %s", what, within, last)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

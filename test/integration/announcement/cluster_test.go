// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package announcement

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent"
	"github.com/ciliate-io/ciliate/controllers/agent/announcement"
	"github.com/ciliate-io/ciliate/internal/config"
	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
	"github.com/ciliate-io/ciliate/test/build"
)

// cluster is an API server with two nodes on it.
type cluster struct {
	client.Client
	t      *testing.T
	config *rest.Config
	nodes  map[string]*node
}

// node is an agent as far as it announces. Its datapath outlives it.
type node struct {
	datapath *fake.Datapath
	stop     func()
}

func start(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run make test-integration, or set it to what hack/tools/build.sh --bin-dir prints")
	}
	ctrl.SetLogger(logr.Discard()) // what fails, fails the test
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	rc, err := env.Start()
	if err != nil {
		t.Fatalf("start the API server: %v", err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	rc.QPS = -1
	scheme, err := agent.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, config: rc, nodes: map[string]*node{}}
	if c.Client, err = client.New(rc, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"n1", "n2"} {
		c.make(build.Node(name).Obj())
		n := &node{datapath: fake.New()}
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})
		if _, err := n.datapath.EnsureNode(t.Context(), datapath.Node{Addrs: []netip.Addr{addr}}); err != nil {
			t.Fatal(err)
		}
		c.nodes[name] = n
		c.run(name)
	}
	return c
}

// run starts the agent of a node.
func (c *cluster) run(name string) {
	c.t.Helper()
	scheme, err := agent.NewScheme()
	c.check(err)
	settings := config.Agent{NodeName: name, MetricsAddr: "0"}
	oneOfSeveral := func(o *ctrl.Options) { o.Controller.SkipNameValidation = new(true) }
	mgr, _, err := agent.NewManager(c.t.Context(), c.config, scheme, settings, oneOfSeveral)
	c.check(err)
	r := announcement.New(announcement.Options{
		Client: mgr.GetClient(), Datapath: c.nodes[name].datapath, Clock: clock.RealClock{}, NodeName: name,
	})
	c.check(r.SetupWithManager(mgr))
	c.check(mgr.Add(r))
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	c.nodes[name].stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Errorf("the manager of %s ended with %v", name, err)
		}
	})
	c.t.Cleanup(c.nodes[name].stop)
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		c.t.Fatal("the cache did not sync")
	}
	c.check(r.Sync(ctx))
}

func (c *cluster) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) make(objects ...client.Object) {
	c.t.Helper()
	for _, obj := range objects {
		obj.SetUID("")
		c.check(c.Create(c.t.Context(), obj))
	}
}

// service makes one of type LoadBalancer with an address.
func (c *cluster) service(name, addr string, change ...func(*corev1.Service)) *corev1.Service {
	c.t.Helper()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	svc.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}
	for _, ch := range change {
		ch(svc)
	}
	c.make(svc)
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
	c.check(c.Status().Update(c.t.Context(), svc))
	return svc
}

// announcers are the nodes whose datapath has an address.
func (c *cluster) announcers(addr string) []string {
	c.t.Helper()
	var out []string
	for _, name := range []string{"n1", "n2"} {
		list, err := c.nodes[name].datapath.Announcements()
		c.check(err)
		for _, a := range list {
			if a.Addr.String() == addr {
				out = append(out, name)
			}
		}
	}
	return out
}

// holder is who holds the Lease of a Service.
func (c *cluster) holder(name string) string {
	c.t.Helper()
	lease := &coordinationv1.Lease{}
	key := client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: v1alpha1.AnnouncementLease("default", name)}
	if err := c.Get(c.t.Context(), key, lease); err != nil || lease.Spec.HolderIdentity == nil {
		c.check(client.IgnoreNotFound(err))
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// announcedBy waits until a Service is announced by one of these nodes alone, and returns which.
func (c *cluster) announcedBy(svc *corev1.Service, within time.Duration, nodes ...string) string {
	c.t.Helper()
	last := ""
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		holder, announcers := c.holder(svc.Name), c.announcers(svc.Status.LoadBalancer.Ingress[0].IP)
		for _, node := range nodes {
			if node == holder && len(announcers) == 1 && announcers[0] == node || node == "" && len(announcers) == 0 {
				return node
			}
		}
		last = fmt.Sprintf("%q holds the Lease, %v announce", holder, announcers)
	}
	c.t.Fatalf("%s is not announced by one of %q after %s: %s", svc.Name, nodes, within, last)
	return ""
}

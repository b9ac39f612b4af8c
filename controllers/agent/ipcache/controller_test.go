// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipcache

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
	"github.com/ciliate-io/ciliate/test/build"
)

// remoteCache is a cache that only reads.
type remoteCache struct {
	cache.Cache
	reader client.Reader
}

func (c remoteCache) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	return c.reader.Get(ctx, key, obj, opts...)
}

func (c remoteCache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return c.reader.List(ctx, list, opts...)
}

type world struct {
	*Reconciler
	t             *testing.T
	local, remote client.Client
	dp            *fake.Datapath
	clock         *clocktesting.FakeClock
}

// newWorld has this node n1 and another, n2, each with a pool.
func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dp: fake.New(), clock: clocktesting.NewFakeClock(time.Unix(1000, 0)),
		local: fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(
			ciliumNode("n1", []string{"192.0.2.1"}, "10.0.1.0/24"), ciliumNode("n2", []string{"192.0.2.2", "2001:db8::2"}, "10.0.2.0/24"),
		).Build(),
		remote: fakeclient.NewClientBuilder().WithScheme(scheme).Build(),
	}
	w.Reconciler = New(w.local, remoteCache{reader: w.remote}, w.dp, "n1", w.clock)
	return w
}

func (w *world) run(namespace, name string) error {
	w.t.Helper()
	_, err := w.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	return err
}

// pods are the rows of addresses of pods in the kernel, with their identities.
func (w *world) pods() map[string]dp.Identity {
	w.t.Helper()
	routes, err := w.dp.Routes()
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[string]dp.Identity{}
	for _, r := range routes {
		if r.Identity > 255 {
			got[r.Prefix.Addr().String()] = r.Identity
		}
	}
	return got
}

func (w *world) want(pods map[string]dp.Identity) {
	w.t.Helper()
	if diff := cmp.Diff(pods, w.pods()); diff != "" {
		w.t.Errorf("rows of pods (-want +got):\n%s", diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func web(ip string, id int64) *v1alpha1.CiliumEndpoint {
	cep := build.Endpoint("default/web").OnNode("n2").Identity(id).Address(v1alpha1.IPv4, ip, "10.0.2.1").Obj()
	cep.Finalizers = nil // it goes when it is deleted
	return cep
}

func TestEndpointComesAndGoes(t *testing.T) {
	w := newWorld(t)
	must(t, w.Sync(t.Context()))
	cep := web("10.0.2.7", 1001)
	must(t, w.remote.Create(t.Context(), cep))
	must(t, w.run("default", "web"))
	w.want(map[string]dp.Identity{"10.0.2.7": 1001})
	must(t, w.remote.Delete(t.Context(), cep))
	must(t, w.run("default", "web"))
	w.want(map[string]dp.Identity{})
}

func TestNothingIsWrittenBeforeSync(t *testing.T) {
	w := newWorld(t)
	must(t, w.remote.Create(t.Context(), web("10.0.2.7", 1001)))
	must(t, w.run("default", "web"))
	w.want(map[string]dp.Identity{})
	must(t, w.Sync(t.Context()))
	w.want(map[string]dp.Identity{"10.0.2.7": 1001})
}

// The kernel has what the last agent left: what is right stays, what nobody wants goes.
func TestSyncReplaces(t *testing.T) {
	w := newWorld(t)
	must(t, w.dp.PutRoutes([]dp.Route{row("10.0.2.9", 1009)}))
	must(t, w.remote.Create(t.Context(), web("10.0.2.7", 1001)))
	must(t, w.Sync(t.Context()))
	w.want(map[string]dp.Identity{"10.0.2.7": 1001})
}

// While a pod's name moves to another node both caches have an endpoint: the younger counts.
func TestPodThatMoves(t *testing.T) {
	w := newWorld(t)
	old, young := time.Unix(1000, 0), time.Unix(1060, 0)
	here := build.Endpoint("default/web").OnNode("n1").Identity(1001).Address(v1alpha1.IPv4, "10.0.1.7", "").Created(old).Obj()
	there := build.Endpoint("default/web").OnNode("n2").Identity(1001).Address(v1alpha1.IPv4, "10.0.2.7", "").Created(young).Obj()
	here.Finalizers = nil
	must(t, w.local.Create(t.Context(), here))
	must(t, w.remote.Create(t.Context(), there))
	must(t, w.Sync(t.Context()))
	w.want(map[string]dp.Identity{"10.0.2.7": 1001})
	must(t, w.local.Delete(t.Context(), here))
	must(t, w.run("default", "web"))
	w.want(map[string]dp.Identity{"10.0.2.7": 1001})
}

func TestNodeGoesAndItsPodsWithIt(t *testing.T) {
	w := newWorld(t)
	must(t, w.remote.Create(t.Context(), web("10.0.2.7", 1001)))
	must(t, w.Sync(t.Context()))
	gone := ciliumNode("n2", nil)
	must(t, w.local.Delete(t.Context(), gone))
	for _, req := range w.withNode(t.Context(), gone) {
		must(t, w.run(req.Namespace, req.Name))
	}
	w.want(map[string]dp.Identity{})
	routes, err := w.dp.Routes()
	must(t, err)
	for _, r := range routes {
		if r.Node.IsValid() {
			t.Errorf("the row %v leads to a node that is gone", r)
		}
	}
}

func TestKernelThatFails(t *testing.T) {
	tests := map[string]struct {
		method string
		deed   func(*world)
		want   map[string]dp.Identity
	}{
		"to write":  {method: "PutRoutes", deed: func(w *world) { must(t, w.remote.Create(t.Context(), web("10.0.2.7", 1001))) }, want: map[string]dp.Identity{"10.0.2.7": 1001}},
		"to delete": {method: "DeleteRoutes", deed: func(*world) {}, want: map[string]dp.Identity{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cep := web("10.0.2.7", 1001)
			if tt.method == "DeleteRoutes" {
				must(t, w.remote.Create(t.Context(), cep))
			}
			must(t, w.Sync(t.Context()))
			if tt.method == "DeleteRoutes" {
				must(t, w.remote.Delete(t.Context(), cep))
			}
			tt.deed(w)
			w.dp.Fail(tt.method, 1, errors.New("busy"))
			if err := w.run("default", "web"); err == nil {
				t.Fatal("the error was lost")
			}
			must(t, w.run("default", "web"))
			w.want(tt.want)
		})
	}
}

// The family of tunnels depends on what this node has: when that changes, so does every row.
func TestOwnAddressesChange(t *testing.T) {
	w := newWorld(t)
	must(t, w.remote.Create(t.Context(), web("10.0.2.7", 1001)))
	must(t, w.Sync(t.Context()))
	own := &v1alpha1.CiliumNode{}
	must(t, w.local.Get(t.Context(), types.NamespacedName{Name: "n1"}, own))
	own.Spec.Addresses = []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "2001:db8::1"}}
	must(t, w.local.Update(t.Context(), own))
	w.dp.Fail("SyncRoutes", 1, errors.New("busy"))
	if err := w.run("", "n1"); err == nil {
		t.Fatal("the error was lost")
	}
	must(t, w.run("", "n1"))
	routes, err := w.dp.Routes()
	must(t, err)
	for _, r := range routes {
		if r.Prefix == prefixOf("10.0.2.7") && r.Node != netip.MustParseAddr("2001:db8::2") {
			t.Errorf("the pod is behind %s, want the address of the family that both nodes have", r.Node)
		}
	}
}

// Somebody else wrote to the kernel's table.
func TestRepair(t *testing.T) {
	w := newWorld(t)
	must(t, w.remote.Create(t.Context(), web("10.0.2.7", 1001)))
	must(t, w.repair())
	if n := len(w.dp.Calls()); n != 0 {
		t.Fatalf("%d calls before Sync", n)
	}
	must(t, w.Sync(t.Context()))
	must(t, w.dp.DeleteRoutes([]netip.Prefix{prefixOf("10.0.2.7")}))
	must(t, w.repair())
	w.want(map[string]dp.Identity{"10.0.2.7": 1001})
}

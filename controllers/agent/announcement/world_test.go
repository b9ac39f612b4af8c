// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package announcement

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/internal/index"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
	"github.com/ciliate-io/ciliate/test/build"
)

// timed is a datapath that remembers for how long it was last to answer.
type timed struct {
	*fake.Datapath
	long time.Duration
}

func (d *timed) Announce(list []dp.Announcement, long time.Duration) error {
	d.long = long
	return d.Datapath.Announce(list, long)
}

// world is the reconciler of node n1 between an API and a datapath that only remember.
type world struct {
	*Reconciler
	t        *testing.T
	api      client.Client
	datapath *timed
	clock    *clocktesting.FakeClock
	// down is what every write fails with; writes counts those that came through.
	down   error
	writes int
}

var name = types.NamespacedName{Namespace: "ns", Name: "web"} //nolint:gochecknoglobals // the one Service of these tests

func policy() *v1alpha1.CiliumL2AnnouncementPolicy {
	return &v1alpha1.CiliumL2AnnouncementPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true},
	}
}

// newWorld has the Service of web, a policy for it, this node, and these objects.
func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, discoveryv1.AddToScheme, coordinationv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, datapath: &timed{Datapath: fake.New()}, clock: clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0))}
	if _, err := w.datapath.EnsureNode(t.Context(), dp.Node{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}); err != nil {
		t.Fatal(err)
	}
	objects = append(objects, web(), policy(), build.Node("n1").Obj())
	w.api = fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&discoveryv1.EndpointSlice{}, index.EndpointSliceService, index.EndpointSliceServiceOf).Build()
	watched := interceptor.NewClient(w.api.(client.WithWatch), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if w.down != nil {
				return w.down
			}
			w.writes++
			return c.Create(ctx, obj, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			if w.down != nil {
				return w.down
			}
			w.writes++
			return c.Update(ctx, obj, opts...)
		},
	})
	w.Reconciler = New(Options{Client: watched, Datapath: w.datapath, Clock: w.clock, NodeName: "n1"})
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func request() ctrl.Request { return ctrl.Request{NamespacedName: name} }

func (w *world) run() ctrl.Result {
	w.t.Helper()
	result, err := w.Reconcile(w.t.Context(), request())
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

// pass lets time go by and reconciles.
func (w *world) pass(d time.Duration) ctrl.Result {
	w.t.Helper()
	w.clock.Step(d)
	return w.run()
}

// take makes the node hold the Lease.
func (w *world) take() {
	w.t.Helper()
	w.run()
	w.pass(spread)
	w.announces(true)
}

// announces compares whether the node answers.
func (w *world) announces(want bool) {
	w.t.Helper()
	got, err := w.datapath.Announcements()
	if err != nil {
		w.t.Fatal(err)
	}
	var all []dp.Announcement
	if want {
		all = []dp.Announcement{
			{Addr: netip.MustParseAddr("192.0.2.200"), Device: "eth0"}, {Addr: netip.MustParseAddr("2001:db8::200"), Device: "eth0"},
		}
	}
	less := cmpopts.SortSlices(func(a, b dp.Announcement) bool { return compare(a, b) < 0 })
	if diff := cmp.Diff(all, got, less, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		w.t.Errorf("announcements (-want +got):\n%s", diff)
	}
}

// lease is the Lease of the Service as the API has it.
func (w *world) lease() *coordinationv1.Lease {
	w.t.Helper()
	lease := &coordinationv1.Lease{}
	key := types.NamespacedName{Namespace: "kube-system", Name: "cilium-l2announce-ns-web"}
	if err := w.api.Get(w.t.Context(), key, lease); err != nil {
		w.t.Fatal(err)
	}
	return lease
}

// heldBy changes the holder, as another node does.
func (w *world) heldBy(holder string) {
	w.t.Helper()
	if err := w.api.Update(w.t.Context(), held(w.lease(), holder, w.clock.Now())); err != nil {
		w.t.Fatal(err)
	}
}

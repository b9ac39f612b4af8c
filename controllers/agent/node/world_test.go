// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package node

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ciliate-io/ciliate/api/applyconfiguration"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
	"github.com/ciliate-io/ciliate/internal/ipam"
	"github.com/ciliate-io/ciliate/test/build"
)

// usedMaps is a datapath whose maps are as full as a test says.
type usedMaps struct {
	*fake.Datapath
	usage []dp.MapUsage
}

func (d *usedMaps) MapUsage() ([]dp.MapUsage, error) { return d.usage, nil }

// world is the reconciler of node n1 with everything around it in memory.
type world struct {
	*Reconciler
	t      *testing.T
	api    client.Client
	dp     *usedMaps
	clock  *clocktesting.FakeClock
	writes int
	// attached, services, cni and woken are what others of the agent say and hear.
	attached int
	services Services
	cni      struct {
		ok              bool
		reason, message string
	}
	woken int
}

func cluster() *v1alpha1.CiliumConfig {
	config := build.Config(24, "10.0.0.0/16")
	config.Spec.RoutingMode, config.Spec.TunnelPort, config.Spec.HostForwarding = v1alpha1.RoutingTunnel, 8472, v1alpha1.ForwardingBPF
	config.Spec.Masquerade = v1alpha1.MasqueradeEnabled
	config.Status.IdentityFilter = &v1alpha1.IdentityFilter{Version: 1, ClusterName: "default"}
	return config
}

func ciliumNode(name, addr string, cidrs ...string) *v1alpha1.CiliumNode {
	node := build.CiliumNode(name, cidrs...)
	node.Generation = 1
	if addr != "" {
		node.Spec.Addresses = []v1alpha1.NodeAddress{{Type: "InternalIP", IP: addr}}
	}
	return node
}

// newWorld has the configuration of cluster and these nodes; the agent started with that configuration.
func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dp: &usedMaps{Datapath: fake.New()}, clock: clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0))}
	w.cni.ok, w.cni.reason, w.cni.message = true, v1alpha1.ReasonConfigFileWritten, "In place"
	w.api = interceptor.NewClient(
		fakeclient.NewClientBuilder().WithScheme(scheme).WithTypeConverters(applyconfiguration.NewTypeConverter(scheme)).
			WithStatusSubresource(&v1alpha1.CiliumNode{}, &v1alpha1.CiliumConfig{}).WithObjects(objects...).Build(),
		interceptor.Funcs{SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			w.writes++
			return c.SubResource(sub).Apply(ctx, obj, opts...)
		}})
	w.Reconciler = New(Options{
		Client: w.api, Datapath: w.dp, Addresses: ipam.New(w.clock.Now, rand.NewPCG(1, 1), time.Second), Clock: w.clock,
		NodeName: "n1", BootID: "boot", Version: "v0", Config: *cluster(),
		Services:      func() Services { return w.services },
		Attached:      func() int { return w.attached },
		CNI:           func() (bool, string, string) { return w.cni.ok, w.cni.reason, w.cni.message },
		FilterChanged: func(context.Context) error { w.woken++; return nil },
	})
	return w
}

func (w *world) run() (ctrl.Result, error) {
	w.t.Helper()
	return w.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "n1"}})
}

func (w *world) mustRun() {
	w.t.Helper()
	if _, err := w.run(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get() *v1alpha1.CiliumNode {
	w.t.Helper()
	node := &v1alpha1.CiliumNode{}
	if err := w.api.Get(w.t.Context(), types.NamespacedName{Name: "n1"}, node); err != nil {
		w.t.Fatal(err)
	}
	return node
}

// is returns "Status/Reason" of a condition of the node.
func (w *world) is(kind string) string {
	w.t.Helper()
	c := meta.FindStatusCondition(w.get().Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

// configure changes the configuration, as its user and the operator do.
func (w *world) configure(change func(*v1alpha1.CiliumConfig)) {
	w.t.Helper()
	config := &v1alpha1.CiliumConfig{}
	if err := w.api.Get(w.t.Context(), types.NamespacedName{Name: v1alpha1.ConfigName}, config); err != nil {
		w.t.Fatal(err)
	}
	change(config)
	status := config.Status.DeepCopy()
	if err := w.api.Update(w.t.Context(), config); err != nil {
		w.t.Fatal(err)
	}
	config.Status = *status
	if err := w.api.Status().Update(w.t.Context(), config); err != nil {
		w.t.Fatal(err)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

func TestProgramsTheNode(t *testing.T) {
	w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"), ciliumNode("n3", "192.0.2.3", "10.0.3.0/24"),
		ciliumNode("n2", "192.0.2.2", "10.0.2.0/24"), ciliumNode("n4", "", "10.0.4.0/24"))
	w.mustRun()
	got := w.dp.Node()
	want := "[192.0.2.1] [10.0.1.0/24] [10.0.1.1] true n2 n3"
	said := fmt.Sprint(got.Addrs, " ", got.PodCIDRs, " ", got.Routers, " ", got.Masquerade)
	for _, peer := range got.Peers {
		said += " " + peer.Name
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("the kernel was told (-want +got):\n%s", diff)
	}
	select {
	case <-w.Programmed():
	default:
		t.Error("nobody was told that the node is programmed")
	}
	if usage := w.Addresses.Usage(); len(usage) != 1 || usage[0].Capacity != 253 || fmt.Sprint(w.Routers()) != "[10.0.1.1]" {
		t.Errorf("pods get addresses of %v by the routers %v", usage, w.Routers())
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
	w.attached, w.dp.usage = 3, []dp.MapUsage{{Name: "endpoints", Entries: 6, MaxEntries: 100}}
	w.mustRun()
	want := v1alpha1.CiliumNodeStatus{
		AgentVersion: "v0", BootID: "boot", ConfigGeneration: 1, Endpoints: 3,
		Pools: []v1alpha1.PoolUsage{{CIDR: "10.0.1.0/24", Capacity: 253}},
		Datapath: &v1alpha1.NodeDatapath{
			RoutingMode: v1alpha1.RoutingTunnel, MTUBytes: 1450, Devices: []string{"eth0"},
			Maps: []v1alpha1.MapUsage{{Name: "endpoints", Entries: 6, MaxEntries: 100}},
		},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionCNIConfigured, Status: "True", Reason: v1alpha1.ReasonConfigFileWritten, ObservedGeneration: 1},
			{Type: v1alpha1.ConditionServicesProgrammed, Status: "True", Reason: v1alpha1.ReasonProgrammed, ObservedGeneration: 1},
			{Type: v1alpha1.ConditionReady, Status: "True", Reason: v1alpha1.ReasonServing, ObservedGeneration: 1},
		},
	}
	if diff := cmp.Diff(want, w.get().Status, cmpopts.IgnoreFields(metav1.Condition{}, "Message", "LastTransitionTime")); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestReady(t *testing.T) {
	whole := []client.Object{cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24")}
	busy := errors.New("busy")
	tests := map[string]struct {
		objects []client.Object
		happens func(*world)
		want    string
		wantErr bool
	}{
		"all is well":     {objects: whole, want: "True/Serving"},
		"no address":      {objects: []client.Object{cluster(), ciliumNode("n1", "", "10.0.1.0/24")}, want: "False/WaitingForNode"},
		"no pool":         {objects: []client.Object{cluster(), ciliumNode("n1", "192.0.2.1")}, want: "False/WaitingForNode"},
		"kube-proxy":      {objects: whole, happens: func(w *world) { w.dp.SetForeignServices("chain KUBE-SERVICES") }, want: "False/ForeignServices"},
		"the port":        {objects: whole, happens: func(w *world) { w.dp.Fail("EnsureNode", 1, fmt.Errorf("tunnel: %w", dp.ErrTunnelPortInUse)) }, want: "False/TunnelPortInUse", wantErr: true},
		"the kernel":      {objects: whole, happens: func(w *world) { w.dp.Fail("EnsureNode", 1, busy) }, want: "False/DatapathError", wantErr: true},
		"no CNI file":     {objects: whole, happens: func(w *world) { w.cni.ok, w.cni.reason = false, v1alpha1.ReasonConfigFileError }, want: "False/ConfigFileError"},
		"a map at 89 %":   {objects: whole, happens: func(w *world) { w.dp.usage = []dp.MapUsage{{Name: "ipcache", Entries: 89, MaxEntries: 100}} }, want: "True/Serving"},
		"a map at 90 %":   {objects: whole, happens: func(w *world) { w.dp.usage = []dp.MapUsage{{Name: "ipcache", Entries: 90, MaxEntries: 100}} }, want: "True/MapPressure"},
		"a map of no use": {objects: whole, happens: func(w *world) { w.dp.usage = []dp.MapUsage{{Name: "none"}} }, want: "True/Serving"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.objects...)
			if tt.happens != nil {
				tt.happens(w)
			}
			if _, err := w.run(); (err != nil) != tt.wantErr {
				t.Errorf("err = %v", err)
			}
			if got := w.is(v1alpha1.ConditionReady); got != tt.want {
				t.Errorf("Ready is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestServicesProgrammed(t *testing.T) {
	tests := map[string]struct {
		services          Services
		want, wantMessage string
	}{
		"all of them": {want: "True/Programmed", wantMessage: "Every Service is programmed with all its backends"},
		"some lack room, though others are contested": {
			services: Services{Short: []string{"ns/a", "ns/b", "ns/c", "ns/d", "ns/e", "ns/f"}, Contested: []string{"ns/g"}},
			want:     "False/MapFull",
			wantMessage: "The maps have no room for all of some Services, so that clients on this node do not reach each of their " +
				"backends, are not let in, or are led at random where Maglev should choose: ns/a, ns/b, ns/c, ns/d, ns/e and 1 more",
		},
		"two want one node port": {
			services:    Services{Contested: []string{"ns/b (ns/a has 192.0.2.1:30080)"}},
			want:        "False/Contested",
			wantMessage: "Some Services are not reached at an address of theirs, because another one has it: ns/b (ns/a has 192.0.2.1:30080)",
		},
		"the kernel refuses": {
			services:    Services{Problem: "write map frontends: busy"},
			want:        "False/DatapathError",
			wantMessage: "The last change of Services did not come through: write map frontends: busy",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
			w.services = tt.services
			w.mustRun()
			if got := w.is(v1alpha1.ConditionServicesProgrammed); got != tt.want {
				t.Errorf("ServicesProgrammed is %q, want %q", got, tt.want)
			}
			got := meta.FindStatusCondition(w.get().Status.Conditions, v1alpha1.ConditionServicesProgrammed).Message
			if diff := cmp.Diff(tt.wantMessage, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKubeProxyIsNoHindranceToTheStack(t *testing.T) {
	w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
	w.Config.Spec.HostForwarding = v1alpha1.ForwardingStack
	w.dp.SetForeignServices("chain KUBE-SERVICES")
	w.mustRun()
	if got := w.is(v1alpha1.ConditionReady); got != "True/Serving" {
		t.Errorf("Ready is %q", got)
	}
}

func TestAccelerated(t *testing.T) {
	const foreign = "runs an XDP program of another owner"
	tests := map[string]struct {
		acceleration v1alpha1.Acceleration
		plain        string
		want         string
		wantDevices  []string
	}{
		"not said":                         {},
		"disabled":                         {acceleration: v1alpha1.AccelerationDisabled},
		"native":                           {acceleration: v1alpha1.AccelerationNative, want: "True/Programmed", wantDevices: []string{"eth0"}},
		"native, a card that cannot":       {acceleration: v1alpha1.AccelerationNative, plain: foreign, want: "False/DeviceUnsupported"},
		"best effort":                      {acceleration: v1alpha1.AccelerationBestEffort, wantDevices: []string{"eth0"}},
		"best effort, a card that cannot":  {acceleration: v1alpha1.AccelerationBestEffort, plain: foreign},
		"disabled, a card that could not ": {acceleration: v1alpha1.AccelerationDisabled, plain: foreign},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
			w.configure(func(c *v1alpha1.CiliumConfig) { c.Spec.LoadBalancer.Acceleration = v1alpha1.AccelerationNative })
			w.mustRun()
			w.dp.SetPlain(tt.plain)
			w.configure(func(c *v1alpha1.CiliumConfig) { c.Spec.LoadBalancer.Acceleration = tt.acceleration })
			w.mustRun()
			if got := w.is(v1alpha1.ConditionAccelerated); got != tt.want {
				t.Errorf("Accelerated is %q, want %q", got, tt.want)
			}
			status := w.get().Status
			if diff := cmp.Diff(tt.wantDevices, status.Datapath.AcceleratedDevices); diff != "" {
				t.Errorf("accelerated devices (-want +got):\n%s", diff)
			}
			if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionAccelerated); c != nil && tt.plain != "" &&
				!strings.Contains(c.Message, "eth0, which "+foreign) {
				t.Errorf("message: %q", c.Message)
			}
			if ready := w.is(v1alpha1.ConditionReady); ready != "True/Serving" {
				t.Errorf("Ready is %q", ready)
			}
		})
	}
}

func TestReasonForPeople(t *testing.T) {
	w := newWorld(t, cluster())
	w.mustRun()
	if got := w.Reason(); !strings.Contains(got, "CiliumNode n1 does not exist yet") {
		t.Errorf("reason: %q", got)
	}
	if err := w.api.Create(t.Context(), ciliumNode("n1", "192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	w.mustRun()
	if got := w.Reason(); !strings.Contains(got, "no pod CIDR yet") {
		t.Errorf("reason: %q", got)
	}
	node := w.get()
	node.Spec.IPAM.PodCIDRs = []string{"10.0.1.0/24"}
	if err := w.api.Update(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	w.mustRun()
	if got := w.Reason(); got != "" {
		t.Errorf("reason: %q", got)
	}
}

// Numbers and other words are written at most once a minute, what is more than that at once.
func TestWritesOfTheStatus(t *testing.T) {
	w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
	fill := func(entries int) func() {
		return func() { w.dp.usage = []dp.MapUsage{{Name: "ipcache", Entries: entries, MaxEntries: 100}} }
	}
	steps := []struct {
		name   string
		change func()
		after  time.Duration
		want   int // writes so far
	}{
		{name: "first", change: fill(1), want: 1},
		{name: "nothing", change: func() {}, want: 1},
		{name: "an endpoint more", change: func() { w.attached++ }, want: 1},
		{name: "the same a minute later", change: func() {}, after: reportEvery, want: 2},
		{name: "a fuller map", change: fill(2), want: 2},
		{name: "a condition", change: func() { w.cni.ok = false }, want: 3},
		{name: "the condition again", change: func() { w.cni.ok = true }, want: 4},
		{name: "pressure", change: fill(90), want: 5},
		{name: "more of it", change: fill(91), want: 5},
		{name: "and more", change: fill(99), after: time.Second, want: 5},
		{name: "no room for a Service", change: func() { w.services.Short = []string{"ns/a"} }, want: 6},
		{name: "nor for another", change: func() { w.services.Short = []string{"ns/a", "ns/b"} }, want: 6},
		{name: "which a minute later is told", change: func() {}, after: reportEvery, want: 7},
	}
	for _, s := range steps {
		s.change()
		w.clock.Step(s.after)
		w.mustRun()
		if w.writes != s.want {
			t.Errorf("%s: %d writes, want %d", s.name, w.writes, s.want)
		}
	}
}

func TestOperatorsConditionStays(t *testing.T) {
	node := ciliumNode("n1", "192.0.2.1", "10.0.1.0/24")
	node.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionPoolAssigned, Status: "True", Reason: "Assigned", LastTransitionTime: metav1.Now()}}
	w := newWorld(t, cluster(), node)
	w.mustRun()
	if got := w.is(v1alpha1.ConditionPoolAssigned); got != "True/Assigned" {
		t.Errorf("PoolAssigned is %q", got)
	}
}

func TestRestartIsNotReported(t *testing.T) {
	w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
	w.mustRun()
	before := w.get().Status
	w.cni.ok, w.cni.reason, w.cni.message = false, v1alpha1.ReasonWaitingForDatapath, "not yet"
	w.mustRun()
	if diff := cmp.Diff(before, w.get().Status); diff != "" {
		t.Errorf("an agent that takes over changed the status (-before +after):\n%s", diff)
	}
	w.cni.reason = v1alpha1.ReasonConfigFileError
	w.mustRun()
	if ready := meta.FindStatusCondition(w.get().Status.Conditions, v1alpha1.ConditionReady); ready.Reason != v1alpha1.ReasonConfigFileError {
		t.Errorf("Ready has reason %s, want %s", ready.Reason, v1alpha1.ReasonConfigFileError)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package node

import (
	"testing"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// The generation counts as run only while what needs a restart is as it was at the start.
func TestGenerationThatRuns(t *testing.T) {
	w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
	steps := []struct {
		name   string
		change func(*v1alpha1.CiliumConfigSpec)
		want   int64
	}{
		{"at the start", func(*v1alpha1.CiliumConfigSpec) {}, 1},
		{"what is live", func(s *v1alpha1.CiliumConfigSpec) { s.Masquerade = v1alpha1.MasqueradeDisabled }, 2},
		{"the routing mode", func(s *v1alpha1.CiliumConfigSpec) { s.RoutingMode = v1alpha1.RoutingNative }, 2},
		{"what is live, beside it", func(s *v1alpha1.CiliumConfigSpec) { s.Masquerade = v1alpha1.MasqueradeEnabled }, 2},
		{"the routing mode, back", func(s *v1alpha1.CiliumConfigSpec) { s.RoutingMode = v1alpha1.RoutingTunnel }, 5},
		{"the tunnel port", func(s *v1alpha1.CiliumConfigSpec) { s.TunnelPort = 4789 }, 5},
		{"the tunnel port, back", func(s *v1alpha1.CiliumConfigSpec) { s.TunnelPort = 8472 }, 7},
		{"the forwarding", func(s *v1alpha1.CiliumConfigSpec) { s.HostForwarding = v1alpha1.ForwardingStack }, 7},
		{"the forwarding, back", func(s *v1alpha1.CiliumConfigSpec) { s.HostForwarding = v1alpha1.ForwardingBPF }, 9},
		{"the way of answers", func(s *v1alpha1.CiliumConfigSpec) { s.LoadBalancer.Mode = v1alpha1.LoadBalancerDSR }, 9},
	}
	for i, s := range steps {
		w.configure(func(c *v1alpha1.CiliumConfig) { s.change(&c.Spec); c.Generation = int64(i + 1) })
		w.mustRun()
		if got := w.get().Status.ConfigGeneration; got != s.want {
			t.Errorf("after a change of %s generation %d runs, want %d", s.name, got, s.want)
		}
	}
}

func TestLiveParts(t *testing.T) {
	w := newWorld(t, cluster(), ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
	w.mustRun()
	if w.woken != 0 || !w.dp.Node().Masquerade {
		t.Fatalf("woken %d times, masquerade %v at the start", w.woken, w.dp.Node().Masquerade)
	}
	w.configure(func(c *v1alpha1.CiliumConfig) { c.Spec.Masquerade = v1alpha1.MasqueradeDisabled })
	w.mustRun()
	if w.dp.Node().Masquerade {
		t.Error("masquerade is still on")
	}
	w.configure(func(c *v1alpha1.CiliumConfig) {
		c.Status.IdentityFilter = &v1alpha1.IdentityFilter{Version: 2, ClusterName: "default", Exclude: []string{"team"}}
	})
	w.mustRun()
	w.mustRun()
	if filter, ok := w.Filter(); !ok || len(filter.Exclude) != 1 || w.woken != 1 {
		t.Errorf("the filter is %v, the endpoints were woken %d times", filter, w.woken)
	}
}

// Deleted by mistake: the operator makes another one, and until then what was in force stays in force.
func TestConfigurationThatIsGone(t *testing.T) {
	w := newWorld(t, ciliumNode("n1", "192.0.2.1", "10.0.1.0/24"))
	w.mustRun()
	if _, ok := w.Filter(); !ok || !w.dp.Node().Masquerade || w.is(v1alpha1.ConditionReady) != "True/Serving" {
		t.Errorf("filter %v, masquerade %v, Ready %q", ok, w.dp.Node().Masquerade, w.is(v1alpha1.ConditionReady))
	}
}

func TestChangesOfTheKernelWake(t *testing.T) {
	w := newWorld(t)
	changes := make(chan struct{}, 1)
	w.Changes = changes
	ended := make(chan error)
	go func() { ended <- w.Start(t.Context()) }()
	changes <- struct{}{}
	<-w.changed
	close(changes)
	if err := <-ended; err != nil {
		t.Errorf("the watch ended with %v", err)
	}
}

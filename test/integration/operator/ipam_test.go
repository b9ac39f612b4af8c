// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/ipam"
	"github.com/ciliate-io/ciliate/test/build"
)

// event looks for an event about a kind with a reason.
func (c *cluster) event(kind, reason string) error {
	var list eventsv1.EventList
	if err := c.List(c.t.Context(), &list); err != nil {
		return err
	}
	for _, e := range list.Items {
		if e.Regarding.Kind == kind && e.Reason == reason && e.CreationTimestamp.After(c.start) {
			return nil
		}
	}
	return fmt.Errorf("no event %s about a %s among %d", reason, kind, len(list.Items))
}

// pooled waits until the condition PoolAssigned of a node is so, and returns its ranges.
func (c *cluster) pooled(name string, status metav1.ConditionStatus, reason string) []string {
	c.t.Helper()
	cn := build.CiliumNode(name)
	c.eventually("PoolAssigned of "+name, func() error {
		if err := c.get(cn); err != nil {
			return err
		}
		return condition(cn.Status.Conditions, v1alpha1.ConditionPoolAssigned, status, reason)
	})
	return cn.Spec.IPAM.PodCIDRs
}

func TestNodesGetRanges(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.make(build.Config(24, "10.77.0.0/16"))
	for i := range 20 {
		c.make(build.Node(fmt.Sprint("n", i)).Address(fmt.Sprint("192.0.2.", i+1)).Obj())
	}
	var all []netip.Prefix
	for i := range 20 {
		ranges := c.pooled(fmt.Sprint("n", i), metav1.ConditionTrue, v1alpha1.ReasonAssigned)
		if len(ranges) != 1 {
			t.Fatalf("node n%d has the ranges %v, want one", i, ranges)
		}
		all = append(all, netip.MustParsePrefix(ranges[0]))
	}
	if a, b, found := ipam.Overlaps(all); found {
		t.Errorf("%s overlaps %s", a, b)
	}
	cfg := config()
	c.check(c.get(cfg))
	if cfg.Status.AllocatedAt == nil {
		t.Error("the configuration is not marked as in use")
	}
}

func TestNodeGetsBothFamilies(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.make(build.Node("n1").Address("192.0.2.1", "2001:db8::1").Obj())
	got := c.pooled("n1", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
	if want := []string{"10.208.0.0/24", "fd00:10:208::/112"}; !slices.Equal(got, want) {
		t.Errorf("ranges = %v, want %v", got, want)
	}
}

func TestPoolIsExhausted(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.make(build.Config(25, "10.77.0.0/24"))
	for _, name := range []string{"n1", "n2"} {
		c.make(build.Node(name).Address("192.0.2.1").Obj())
		c.pooled(name, metav1.ConditionTrue, v1alpha1.ReasonAssigned)
	}
	c.make(build.Node("n3").Address("192.0.2.3").Obj())
	c.pooled("n3", metav1.ConditionFalse, v1alpha1.ReasonPoolExhausted)
	c.eventually("an event tells it", func() error { return c.event("CiliumNode", v1alpha1.EventPoolExhausted) })

	first := c.pooled("n1", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
	c.remove(build.Node("n1").Obj())
	c.always("the range of a node whose CiliumNode still exists is not given away", func() error {
		cn := build.CiliumNode("n3")
		c.check(c.get(cn))
		if len(cn.Spec.IPAM.PodCIDRs) > 0 {
			return fmt.Errorf("n3 got %v", cn.Spec.IPAM.PodCIDRs)
		}
		return nil
	})
	c.remove(build.CiliumNode("n1")) // As the garbage collector does.
	if got := c.pooled("n3", metav1.ConditionTrue, v1alpha1.ReasonAssigned); !slices.Equal(got, first) {
		t.Errorf("n3 got %v, want %v, which came back", got, first)
	}

	c.make(build.Node("n4").Address("192.0.2.4").Obj())
	c.pooled("n4", metav1.ConditionFalse, v1alpha1.ReasonPoolExhausted)
	c.eventually("the user appends a CIDR", func() error {
		cfg := config()
		if err := c.get(cfg); err != nil {
			return err
		}
		cfg.Spec.IPAM.IPv4.CIDRs = append(cfg.Spec.IPAM.IPv4.CIDRs, "10.78.0.0/25")
		return c.Update(t.Context(), cfg)
	})
	if got := c.pooled("n4", metav1.ConditionTrue, v1alpha1.ReasonAssigned); !slices.Equal(got, []string{"10.78.0.0/25"}) {
		t.Errorf("n4 got %v, want the range of the new CIDR", got)
	}
}

func TestDeletedCiliumNodeComesBackWithItsRanges(t *testing.T) {
	tests := map[string]struct {
		restart bool
	}{
		"while the operator runs":                       {},
		"while nobody leads, but endpoints remember it": {restart: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			stop := c.operator()
			c.make(build.Config(24, "10.77.0.0/16"))
			c.make(build.Node("n1").Address("192.0.2.1").Obj())
			c.pooled("n1", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
			c.make(build.Node("n2").Address("192.0.2.2").Obj())
			before := c.pooled("n2", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
			pod := c.pod(build.Pod(c.name("p")).OnNode("n2"))
			c.make(build.Endpoint(c.name("p")).OnNode("n2").PodUID(string(pod.UID)).
				Address(v1alpha1.IPv4, "10.77.1.7", "10.77.1.1").Obj())
			if tt.restart {
				stop()
			}
			c.remove(build.CiliumNode("n2"))
			c.make(build.Node("n3").Address("192.0.2.3").Obj())
			if tt.restart {
				c.operator()
			}
			if got := c.pooled("n2", metav1.ConditionTrue, v1alpha1.ReasonAssigned); !slices.Equal(got, before) {
				t.Errorf("n2 got %v, want %v again", got, before)
			}
			if got := c.pooled("n3", metav1.ConditionTrue, v1alpha1.ReasonAssigned); slices.Equal(got, before) {
				t.Errorf("n3 got %v, which is n2's", got)
			}
		})
	}
}

func TestModeKubernetes(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.make(build.Config(0))
	c.make(build.Node("n1").Address("192.0.2.1").PodCIDRs("10.88.1.0/24", "fd00:88:1::/64").Obj())
	c.make(build.Node("n2").Address("192.0.2.2").Obj())
	c.make(build.Node("n3").Address("192.0.2.3").PodCIDRs("10.88.1.128/25").Obj())
	c.make(build.Node("n4").Address("10.88.4.4").PodCIDRs("10.88.4.0/24").Obj())
	c.pooled("n2", metav1.ConditionFalse, v1alpha1.ReasonNoPodCIDR)
	c.pooled("n4", metav1.ConditionFalse, v1alpha1.ReasonInvalidPodCIDR)
	c.eventually("one of two overlapping nodes goes without", func() error {
		cn := build.CiliumNode("n3")
		c.check(c.get(cn))
		return condition(cn.Status.Conditions, v1alpha1.ConditionPoolAssigned, metav1.ConditionFalse, v1alpha1.ReasonInvalidPodCIDR)
	})

	n3 := build.Node("n3").Obj()
	c.remove(n3)
	c.remove(build.CiliumNode("n3"))
	got := c.pooled("n1", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
	if want := []string{"10.88.1.0/24", "fd00:88:1::/64"}; !slices.Equal(got, want) {
		t.Errorf("ranges = %v, want %v", got, want)
	}
	n2 := build.Node("n2").Obj()
	c.check(c.get(n2))
	n2.Spec.PodCIDRs, n2.Spec.PodCIDR = []string{"10.88.2.0/24"}, "10.88.2.0/24"
	c.check(c.Update(t.Context(), n2))
	c.pooled("n2", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
}

func TestMissingNodeIsNoError(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.make(build.Config(24, "10.77.0.0/16"))
	c.make(build.CiliumNode("orphan"))
	c.pooled("orphan", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
	c.remove(build.CiliumNode("orphan"))
	c.eventually("it stays gone", func() error { return c.gone(build.CiliumNode("orphan")) })
}

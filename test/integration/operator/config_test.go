// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func config() *v1alpha1.CiliumConfig {
	return &v1alpha1.CiliumConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ConfigName}}
}

func TestConfigIsCreatedForTheNodesFamilies(t *testing.T) {
	v4 := &v1alpha1.ClusterPool{CIDRs: []string{"10.208.0.0/12"}, MaskSize: 24}
	v6 := &v1alpha1.ClusterPool{CIDRs: []string{"fd00:10:208::/96"}, MaskSize: 112}
	tests := map[string]struct {
		addresses []string
		want      v1alpha1.IPAMConfig
	}{
		"IPv4 alone": {
			addresses: []string{"192.0.2.1"},
			want:      v1alpha1.IPAMConfig{Mode: v1alpha1.IPAMClusterPool, IPv4: v4},
		},
		"IPv6 alone": {
			addresses: []string{"2001:db8::1"},
			want:      v1alpha1.IPAMConfig{Mode: v1alpha1.IPAMClusterPool, IPv6: v6},
		},
		"both": {
			addresses: []string{"192.0.2.1", "2001:db8::1"},
			want:      v1alpha1.IPAMConfig{Mode: v1alpha1.IPAMClusterPool, IPv4: v4, IPv6: v6},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.operator()
			c.make(build.Node("n0").Obj()) // Has no address yet, so says nothing.
			c.make(build.Node("n1").Address(tt.addresses...).Obj())
			cfg := config()
			c.eventually("the configuration is created", func() error { return c.get(cfg) })
			if diff := cmp.Diff(tt.want, cfg.Spec.IPAM); diff != "" {
				t.Errorf("ipam (-want +got):\n%s", diff)
			}
			c.eventually("it is valid", func() error {
				if err := c.get(cfg); err != nil {
					return err
				}
				return condition(cfg.Status.Conditions, v1alpha1.ConditionValid, metav1.ConditionTrue, v1alpha1.ReasonValid)
			})
		})
	}
}

func TestConfigOfTheUserIsNotTouched(t *testing.T) {
	c := newCluster(t)
	cfg := build.Config(26, "10.77.0.0/16")
	cfg.Spec.Identity.ExcludeLabels = []string{"volatile"}
	c.make(cfg)
	c.operator()
	c.make(build.Node("n1").Address("192.0.2.1", "2001:db8::1").Obj())
	got := config()
	c.eventually("it is judged", func() error {
		if err := c.get(got); err != nil {
			return err
		}
		return condition(got.Status.Conditions, v1alpha1.ConditionValid, metav1.ConditionTrue, v1alpha1.ReasonValid)
	})
	if diff := cmp.Diff(cfg.Spec, got.Spec); diff != "" {
		t.Errorf("spec (-user's +now):\n%s", diff)
	}
	if got.Generation != cfg.Generation {
		t.Errorf("generation = %d, want %d", got.Generation, cfg.Generation)
	}
}

func TestConfigThatOverlapsIsInvalidAndGivesNothing(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.make(build.Config(24, "192.0.2.0/24"))
	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	cfg, cn := config(), build.CiliumNode("n1")
	c.eventually("the configuration is not valid", func() error {
		if err := c.get(cfg); err != nil {
			return err
		}
		return condition(cfg.Status.Conditions, v1alpha1.ConditionValid, metav1.ConditionFalse, v1alpha1.ReasonOverlap)
	})
	c.eventually("the node says why it has no range", func() error {
		if err := c.get(cn); err != nil {
			return err
		}
		return condition(cn.Status.Conditions, v1alpha1.ConditionPoolAssigned, metav1.ConditionFalse, v1alpha1.ReasonInvalidConfig)
	})
	c.eventually("an event tells it", func() error { return c.event("CiliumConfig", v1alpha1.ReasonOverlap) })
	if len(cn.Spec.IPAM.PodCIDRs) > 0 || cfg.Status.AllocatedAt != nil {
		t.Errorf("ranges %v were given, at %v", cn.Spec.IPAM.PodCIDRs, cfg.Status.AllocatedAt)
	}

	cfg.Spec.IPAM.IPv4.CIDRs = []string{"10.77.0.0/16"}
	c.eventually("the user mends it", func() error {
		fresh := config()
		if err := c.get(fresh); err != nil {
			return err
		}
		fresh.Spec = cfg.Spec
		return c.Update(t.Context(), fresh)
	})
	c.eventually("the node gets its range", func() error {
		if err := c.get(cn); err != nil {
			return err
		}
		return condition(cn.Status.Conditions, v1alpha1.ConditionPoolAssigned, metav1.ConditionTrue, v1alpha1.ReasonAssigned)
	})
}

func TestConfigThatOverlapsServicesIsInvalid(t *testing.T) {
	c := newCluster(t)
	services := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}}
	c.eventually("the API server has its ServiceCIDR", func() error { return c.get(services) })
	c.operator()
	c.make(build.Config(28, services.Spec.CIDRs[0]))
	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	cfg := config()
	c.eventually("the configuration is not valid", func() error {
		if err := c.get(cfg); err != nil {
			return err
		}
		return condition(cfg.Status.Conditions, v1alpha1.ConditionValid, metav1.ConditionFalse, v1alpha1.ReasonOverlap)
	})
}

func TestConfigSaysWhoRunsIt(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.make(build.Config(24, "10.77.0.0/16"))
	c.make(build.Node("n1").Address("192.0.2.1").Obj(), build.Node("n2").Address("192.0.2.2").Obj())
	cfg := config()
	applied := func(status metav1.ConditionStatus, reason string, current int32) func() error {
		return func() error {
			if err := c.get(cfg); err != nil {
				return err
			}
			if cfg.Status.NodesCurrent != current || cfg.Status.Nodes != 2 {
				return fmt.Errorf("%d of %d nodes are current, want %d", cfg.Status.NodesCurrent, cfg.Status.Nodes, current)
			}
			return condition(cfg.Status.Conditions, v1alpha1.ConditionApplied, status, reason)
		}
	}
	c.eventually("nobody runs it", applied(metav1.ConditionFalse, v1alpha1.ReasonRestartRequired, 0))
	for _, name := range []string{"n1", "n2"} {
		cn := build.CiliumNode(name)
		c.eventually("the agent reports", func() error {
			if err := c.get(cn); err != nil {
				return err
			}
			cn.Status.ConfigGeneration = cfg.Generation
			return c.Status().Update(t.Context(), cn)
		})
	}
	c.eventually("everybody runs it", applied(metav1.ConditionTrue, v1alpha1.ReasonAllNodesCurrent, 2))
}

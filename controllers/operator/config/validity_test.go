// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package config

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestValidity(t *testing.T) {
	services := networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16", "fd00:96::/112"}},
	}
	good := cluster{
		nodes:       []corev1.Node{*build.Node("n1").Address("192.0.2.1", "2001:db8::1").Obj()},
		ciliumNodes: []v1alpha1.CiliumNode{*build.CiliumNode("n1", "10.77.0.0/24"), *build.CiliumNode("n2", "10.77.1.0/24")},
		services:    []networkingv1.ServiceCIDR{services},
	}
	tests := map[string]struct {
		cfg         *v1alpha1.CiliumConfig
		ciliumNodes []v1alpha1.CiliumNode
		wantReason  string
		wantMessage string
	}{
		"all well":        {cfg: build.Config(24, "10.77.0.0/16"), wantReason: v1alpha1.ReasonValid},
		"mode kubernetes": {cfg: build.Config(0), wantReason: v1alpha1.ReasonValid},
		"a pool with a node's address": {
			cfg: build.Config(26, "10.77.0.0/16", "192.0.2.0/24"), wantReason: v1alpha1.ReasonOverlap,
			wantMessage: "the pool 192.0.2.0/24 contains the address 192.0.2.1 of node n1",
		},
		"a pool with a node's IPv6 address": {
			cfg: build.Config(112, "2001:db8::/96"), wantReason: v1alpha1.ReasonOverlap, wantMessage: "2001:db8::1",
		},
		"a pool with the range of Services": {
			cfg: build.Config(24, "10.0.0.0/8"), wantReason: v1alpha1.ReasonOverlap, wantMessage: "10.96.0.0/16",
		},
		"what the API server should have refused": {
			cfg: build.Config(24, "10.77.0.0/25"), wantReason: v1alpha1.ReasonInvalidConfig, wantMessage: "mask size 24",
		},
		"what is no CIDR": {
			cfg: build.Config(24, "10.77.0.0"), wantReason: v1alpha1.ReasonInvalidConfig, wantMessage: "10.77.0.0",
		},
		"two nodes with the same range": {
			cfg: build.Config(24, "10.77.0.0/16"), wantReason: v1alpha1.ReasonOverlap,
			ciliumNodes: []v1alpha1.CiliumNode{*build.CiliumNode("a", "10.77.0.0/24"), *build.CiliumNode("b", "10.77.0.0/24")},
			wantMessage: "nodes a and b have the same range 10.77.0.0/24",
		},
		"a node's range inside another's": {
			cfg: build.Config(0), wantReason: v1alpha1.ReasonOverlap,
			ciliumNodes: []v1alpha1.CiliumNode{*build.CiliumNode("a", "10.77.0.0/16"), *build.CiliumNode("b", "10.77.3.0/24")},
			wantMessage: "of node a overlaps 10.77.3.0/24 of node b",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := good
			if tt.ciliumNodes != nil {
				c.ciliumNodes = tt.ciliumNodes
			}
			got := validity(tt.cfg, c)
			if got.Reason != tt.wantReason || !strings.Contains(got.Message, tt.wantMessage) {
				t.Errorf("got %s: %s, want %s about %q", got.Reason, got.Message, tt.wantReason, tt.wantMessage)
			}
			if valid := got.Status == metav1.ConditionTrue; valid != (tt.wantReason == v1alpha1.ReasonValid) {
				t.Errorf("status is %s because of %s", got.Status, got.Reason)
			}
		})
	}
}

func TestDefaultsWaitForAnAddress(t *testing.T) {
	if _, ok := defaults([]corev1.Node{*build.Node("n1").Obj()}); ok {
		t.Error("there are defaults without any address of a node")
	}
}

func TestSomeNames(t *testing.T) {
	tests := map[string]struct {
		names string
		want  string
	}{
		"few":  {names: "a b c", want: "a, b, c"},
		"many": {names: "a b c d e f g", want: "a, b, c, d, e and 2 more"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := some(strings.Fields(tt.names)); got != tt.want {
				t.Errorf("some = %q, want %q", got, tt.want)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package announcement

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// web is a Service with two addresses of a pool and one of its own.
func web() *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", Labels: map[string]string{"app": "web"}}}
	svc.Spec.Type, svc.Spec.ExternalIPs = corev1.ServiceTypeLoadBalancer, []string{"203.0.113.7"}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.200"}, {IP: "2001:db8::200"}, {Hostname: "web.example.com"}}
	return svc
}

func selecting(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func TestResolve(t *testing.T) {
	const both = "192.0.2.200 eth0, 192.0.2.200 eth1, 2001:db8::200 eth0, 2001:db8::200 eth1"
	tests := map[string]struct {
		policy v1alpha1.CiliumL2AnnouncementPolicySpec
		want   string
		wrong  string
	}{
		"addresses of the load balancer": {policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true}, want: both},
		"external addresses": {
			policy: v1alpha1.CiliumL2AnnouncementPolicySpec{ExternalIPs: true}, want: "203.0.113.7 eth0, 203.0.113.7 eth1",
		},
		"on one card": {
			policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, Interfaces: []string{"^eth1$", "1$"}},
			want:   "192.0.2.200 eth1, 2001:db8::200 eth1",
		},
		"on no card": {policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, Interfaces: []string{"^bond"}}},
		"the Service by its label": {
			policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, ServiceSelector: selecting("app", "web")}, want: both,
		},
		"the Service by its namespace": {
			policy: v1alpha1.CiliumL2AnnouncementPolicySpec{
				LoadBalancerIPs: true, ServiceSelector: selecting("io.kubernetes.service.namespace", "ns"),
			},
			want: both,
		},
		"another Service": {policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, ServiceSelector: selecting("app", "db")}},
		"this node": {
			policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, NodeSelector: selecting("rack", "1")}, want: both,
		},
		"another node": {policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, NodeSelector: selecting("rack", "2")}},
		"no expression": {
			policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, Interfaces: []string{"eth("}}, wrong: "interfaces",
		},
		"no selector of Services": {
			policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, ServiceSelector: selecting("a b", "c")}, wrong: "serviceSelector",
		},
		"no selector of nodes": {
			policy: v1alpha1.CiliumL2AnnouncementPolicySpec{LoadBalancerIPs: true, NodeSelector: selecting("a b", "c")}, wrong: "nodeSelector",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := resolve(web(), &tt.policy, labels.Set{"rack": "1"}, []string{"eth0", "eth1"})
			if (err != nil) != (tt.wrong != "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("err = %v, want one about %q", err, tt.wrong)
			}
			var texts []string
			for _, a := range sorted(got) {
				texts = append(texts, a.Addr.String()+" "+a.Device)
			}
			if diff := cmp.Diff(tt.want, strings.Join(texts, ", ")); diff != "" {
				t.Errorf("announcements (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnnounceable(t *testing.T) {
	tests := map[string]struct {
		change func(*corev1.Service)
		want   bool
	}{
		"with addresses":       {change: func(*corev1.Service) {}, want: true},
		"of our class":         {change: func(s *corev1.Service) { s.Spec.LoadBalancerClass = new(v1alpha1.L2AnnouncerClass) }, want: true},
		"of another class":     {change: func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/theirs") }},
		"of no balancer":       {change: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }, want: true},
		"without an address":   {change: func(s *corev1.Service) { s.Spec.ExternalIPs, s.Status.LoadBalancer.Ingress = nil, nil }},
		"on its way out":       {change: func(s *corev1.Service) { s.DeletionTimestamp = new(metav1.Now()) }},
		"with an external one": {change: func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = nil }, want: true},
		"with the balancer's":  {change: func(s *corev1.Service) { s.Spec.ExternalIPs = nil }, want: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			svc := web()
			tt.change(svc)
			if got := announceable(svc); got != tt.want {
				t.Errorf("announceable = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestServesHere(t *testing.T) {
	tests := map[string]struct {
		node       string
		conditions discoveryv1.EndpointConditions
		want       bool
	}{
		"ready here":                      {node: "n1", conditions: discoveryv1.EndpointConditions{Ready: new(true)}, want: true},
		"here, and nobody says it is not": {node: "n1", want: true},
		"ready elsewhere":                 {node: "n2", conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
		"not ready here":                  {node: "n1", conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
		"ending its last connections": {
			node: "n1", conditions: discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}, want: true,
		},
		"neither ready nor serving": {
			node: "n1", conditions: discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			published := []discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{NodeName: &tt.node, Conditions: tt.conditions}}}}
			if got := servesHere(published, "n1"); got != tt.want {
				t.Errorf("servesHere = %v, want %v", got, tt.want)
			}
		})
	}
}

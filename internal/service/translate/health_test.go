// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestHealthCheck(t *testing.T) {
	balanced := func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.HealthCheckNodePort = 32000
	}
	tests := map[string]struct {
		change func(*corev1.Service)
		slices []discoveryv1.EndpointSlice
		want   HealthCheck
		none   bool
	}{
		"nobody here": {
			slices: []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "rs"))}, want: HealthCheck{Port: 32000},
		},
		"two here, one of them in two slices": {
			slices: []discoveryv1.EndpointSlice{
				slice(end("10.0.1.9", here1, "rs"), end("10.0.1.8", here1, "rs")), slice(end("10.0.1.9", here1, "rs")),
			},
			want: HealthCheck{Port: 32000, Local: 2},
		},
		"one here that is on its way out": {
			slices: []discoveryv1.EndpointSlice{slice(end("10.0.1.9", here1, "st"))}, want: HealthCheck{Port: 32000},
		},
		"a Service that sends clients on": {
			change: func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster }, none: true,
		},
		"a node port alone": {change: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }, none: true},
		"no port to ask":    {change: func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 0 }, none: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := svc(balanced)
			if tt.change != nil {
				tt.change(s)
			}
			got, found := this().HealthCheck(s, tt.slices)
			if got != tt.want || found == tt.none {
				t.Errorf("HealthCheck = %+v, %v, want %+v, %v", got, found, tt.want, !tt.none)
			}
		})
	}
}

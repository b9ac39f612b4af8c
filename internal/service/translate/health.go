// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// HealthCheck is what a load balancer may ask a node: whether it has endpoints of its own.
type HealthCheck struct {
	// Port is where it asks.
	Port uint16
	// Local is how many of the node's endpoints are ready.
	Local int
}

// HealthCheck is that of a Service whose load balancer must know the nodes with endpoints; false for all others.
func (n Node) HealthCheck(svc *corev1.Service, published []discoveryv1.EndpointSlice) (HealthCheck, bool) {
	port := svc.Spec.HealthCheckNodePort
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || port <= 0 || port > maxPort ||
		svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal || len(svc.Spec.IPFamilies) == 0 {
		return HealthCheck{}, false
	}
	ready := map[string]bool{} // an endpoint can be in two slices
	for i := range published {
		if string(published[i].AddressType) != string(svc.Spec.IPFamilies[0]) {
			continue
		}
		for _, e := range published[i].Endpoints {
			isReady := e.Conditions.Ready == nil || *e.Conditions.Ready
			if isReady && e.NodeName != nil && *e.NodeName == n.Name && len(e.Addresses) > 0 {
				ready[e.Addresses[0]] = true
			}
		}
	}
	return HealthCheck{Port: uint16(port), Local: len(ready)}, true
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package index names the field indexes of the managers' caches and computes their values.
package index

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/identity"
)

// The index keys.
const (
	// EndpointNode finds CiliumEndpoints by spec.nodeName.
	EndpointNode = "spec.nodeName"
	// IdentityKey finds CiliumIdentities by the canonical key of their labels.
	IdentityKey = "identityKey"
	// EndpointSliceService finds EndpointSlices by the namespace/name of their Service.
	EndpointSliceService = "service"
)

// EndpointNodeOf is the value of EndpointNode.
func EndpointNodeOf(obj client.Object) []string {
	return []string{obj.(*v1alpha1.CiliumEndpoint).Spec.NodeName}
}

// EndpointSliceServiceOf is the value of EndpointSliceService.
func EndpointSliceServiceOf(obj client.Object) []string {
	name := obj.GetLabels()[discoveryv1.LabelServiceName]
	if name == "" {
		return nil
	}
	return []string{obj.GetNamespace() + "/" + name}
}

// IdentityKeyOf is the value of IdentityKey.
func IdentityKeyOf(obj client.Object) []string {
	return []string{IdentityLabels(obj.(*v1alpha1.CiliumIdentity)).Key()}
}

// IdentityLabels are the labels of a CiliumIdentity in the words of the identity package.
func IdentityLabels(id *v1alpha1.CiliumIdentity) identity.Labels {
	labels := make(identity.Labels, len(id.Spec.Labels))
	for k, v := range id.Spec.Labels {
		labels[k] = string(v)
	}
	return labels
}

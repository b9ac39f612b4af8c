// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package index names the field indexes of the managers' caches and computes their values.
package index

import (
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
)

// EndpointNodeOf is the value of EndpointNode.
func EndpointNodeOf(obj client.Object) []string {
	return []string{obj.(*v1alpha1.CiliumEndpoint).Spec.NodeName}
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

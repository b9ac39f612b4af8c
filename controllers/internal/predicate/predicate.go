// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package predicate holds the event filters that more than one controller uses.
package predicate

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// OnNode lets pass what belongs to the node: its CiliumEndpoints and Pods, and the objects named as the node.
func OnNode(name string) predicate.Predicate {
	return predicate.NewPredicateFuncs(func(obj client.Object) bool {
		switch o := obj.(type) {
		case *v1alpha1.CiliumEndpoint:
			return o.Spec.NodeName == name
		case *corev1.Pod:
			return o.Spec.NodeName == name
		default:
			return obj.GetName() == name
		}
	})
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package v1alpha1 holds the kinds in which Ciliate keeps all of its state. Each part of an object has one writer.
//
// CiliumEndpoint: one network attachment of a pod sandbox. The CNI plugin creates it (spec is immutable); the agent of
// spec.nodeName writes the status; the operator writes the condition Untrusted alone.
//
// CiliumNode: one node of the cluster. The operator writes the spec (addresses, pod CIDRs) and the condition
// PoolAssigned; the node's agent writes the rest of the status.
//
// CiliumIdentity: one set of security-relevant labels and its number, which is the object's name. The operator writes
// spec and status.
//
// CiliumConfig: the cluster's configuration, a singleton named "default". The user writes the spec (the operator
// creates it with defaults where there is none); the operator writes the status.
//
// CiliumLoadBalancerIPPool: addresses for Services of type LoadBalancer. The user writes the spec, the operator the
// status.
//
// CiliumL2AnnouncementPolicy: which nodes answer for addresses of Services on their links. The user writes the spec, the
// operator the status.
//
// +kubebuilder:object:generate=true
// +groupName=cilium.io
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="../applyconfiguration"
package v1alpha1

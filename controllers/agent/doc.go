// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package agent holds the controllers of one node. Setup lists them.
//
// What the agents may do, before the admission policy of config/admission narrows their writes to their own node. The
// CNI plugin lives on the same token: it creates, reads and deletes endpoints.
//
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumendpoints,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumendpoints/status,verbs=update
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnodes/status,verbs=patch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumnodes;ciliumconfigs;ciliumidentities,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods;namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get;list;watch
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch
package agent

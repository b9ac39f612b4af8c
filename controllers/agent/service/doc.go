// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package service takes Services and EndpointSlices, and the host ports of this node's pods, to the datapath's maps, as they
// look from this node. What changes within a moment is written at once, and only what differs. Entry point: Reconciler.
//
// +kubebuilder:rbac:groups=cilium.io,resources=ciliumconfigs,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch
package service

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package announcement makes this node answer ARP and neighbour solicitations for the addresses of Services, as
// CiliumL2AnnouncementPolicies say. Of the nodes that may, the one that holds the Service's Lease does. Its answers end by
// themselves soon after the agent does, before another node can hold the Lease. Entry point: Reconciler.
//
// +kubebuilder:rbac:groups="",resources=nodes;services,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch
// +kubebuilder:rbac:groups=cilium.io,resources=ciliuml2announcementpolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch;create;update,namespace=kube-system
package announcement

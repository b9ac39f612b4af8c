// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package ipam decides who has which address: Allocator gives a node's endpoints single addresses from the node's ranges,
// ClusterPool gives the cluster's nodes ranges from the cluster's CIDRs. Both only count; what the world holds is told to
// them by Adopt. Neither knows API objects or the kernel.
package ipam

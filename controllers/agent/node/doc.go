// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package node makes this node reachable: it takes CiliumConfig and all CiliumNodes to what the datapath needs to know of
// this node and its peers, keeps that so when devices change, and reports in the status of the node's own CiliumNode.
// Entry point: Reconciler.
package node

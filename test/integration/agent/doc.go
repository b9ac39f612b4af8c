// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package agent runs the agent's manager as a process of its own, with the real datapath, against an API server
// (envtest): pods' sandboxes are network namespaces, everything else that a node has is there. The operator is the test.
//
// Needs root and the build tag integration: the whole test runs in a network and mount namespace of its own, and leaves
// nothing behind.
package agent

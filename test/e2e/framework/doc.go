// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

// Package framework is what end-to-end tests need of the cluster of hack/cluster: pods that measure their packets, nodes
// that can be looked into and broken, and a look at everything that may leak. It refuses to fake anything: packets cross
// the real datapath, and faults are signals to real processes. Entry point: Open.
package framework

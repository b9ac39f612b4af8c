// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package admission tests on a real API server that config/default installs with one apply, and that what it installs
// holds the agents to their own nodes (docs/architecture.md, invariant 7). No root, no kubelet; build tag integration.
package admission

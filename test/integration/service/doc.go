// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package service tries the agent's service controller on a real API server, with a datapath that remembers what it was
// told to write. It needs KUBEBUILDER_ASSETS and the build tag "integration".
package service

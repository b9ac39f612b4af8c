// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package cni runs the built cilium-cni against a real kube-apiserver, with a bare stand-in for the agent, and holds that
// apiserver to the contract that the unit tests' fake has passed. Build tag integration; needs KUBEBUILDER_ASSETS.
package cni

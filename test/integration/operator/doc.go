// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package operator runs the operator's manager against a real kube-apiserver (envtest, one for the whole package), and
// holds the CRDs to their own rules there. What kubelets, agents and the controller-manager would write, the tests write.
package operator

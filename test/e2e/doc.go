// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

// Package e2e tests Ciliate on the real cluster of hack/cluster, on which make demo has installed it: real kubelets, real
// pods, real packets, and faults that are signals to real processes. Every test leaves a healthy cluster, and most end
// with the question whether anything leaked. They need root, and nothing else may use the cluster meanwhile.
//
// One test alone: go test -tags e2e -count 1 -v -run TestKilledAgent ./test/e2e/ (as root).
package e2e

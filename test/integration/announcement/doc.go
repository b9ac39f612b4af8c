// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package announcement tests with a real API server how the agents of two nodes agree who announces a Service; their
// datapaths only remember. Run it by "make test-integration".
package announcement

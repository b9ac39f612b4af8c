// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package service decides what a node's tables of Services hold: which address and port stands for which backends, under
// which number, and what has to be written to come from what is there to what is wanted, and no more. It has never heard
// of Kubernetes (package translate has) and writes nothing itself. Entry points: Set, Table.
package service

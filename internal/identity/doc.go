// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package identity reduces a pod to the labels that make its security identity, gives that set of labels a canonical
// key, and proposes numbers for it. Operator and agent share it, so that both mean the same by "the same identity". It
// knows no API objects and keeps no state. Entry point: Filter.Labels.
package identity

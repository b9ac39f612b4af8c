// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package translate turns a Service and its EndpointSlices, or a pod with host ports, into sets of backends as package
// service knows them: which addresses are whose, and which endpoints count for whom. It reads nothing but its arguments.
// Entry points: Sets, PodSets.
package translate

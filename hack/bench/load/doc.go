// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package load sends traffic between two network namespaces for a short while and says how much went through. It uses
// blocking sockets on threads of their own, so that what is measured is the kernel and not Go's scheduler, and cubic on
// each, because the machine's default may be bbr, which paces by timers.
package load

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package loadbalancer decides which addresses Services of type LoadBalancer have: pools and requests in, addresses and
// verdicts out. It remembers what it gave, because what was written is not read back at once; it knows neither clients
// nor selectors. Entry points: Conflicts, and Settle of a Book.
package loadbalancer

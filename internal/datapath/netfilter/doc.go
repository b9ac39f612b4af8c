// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package netfilter knows what netfilter does on a node beside us: who translates Services with it, and what an earlier
// version of ours has left there. All it adds is that the tunnel's packets are not tracked. Entry points: ForeignServices,
// EnsureUntracked, RemoveOldTable.
package netfilter

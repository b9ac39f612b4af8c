// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package netfilter knows what netfilter does on a node beside us: who translates Services with it, and what an earlier
// version of ours has left there. It adds nothing. Entry points: ForeignServices, RemoveOldTable.
package netfilter

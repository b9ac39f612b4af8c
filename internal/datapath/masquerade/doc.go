// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package masquerade gives packets that leave the cluster the node's address, with one nft table of our own that is
// replaced as a whole or left alone. It goes when BPF translates at the card. It also tells whose translations are on the
// node beside ours. Entry point: Ensure.
package masquerade

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package maps writes and reads the datapath's maps in the words of package datapath. It owns the layout of every entry
// and the difference between what a map holds and what it should; it does not create or pin maps (package loader does)
// and has never heard of devices other than by number. Entry point: New.
package maps

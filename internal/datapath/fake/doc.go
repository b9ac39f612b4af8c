// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package fake is a datapath that only remembers what it was told, and fails when it is told to. It is for tests of those
// who use a datapath; package contract holds it to what the real one does. Entry point: New.
package fake

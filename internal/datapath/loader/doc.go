// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package loader brings the compiled datapath into the kernel: it adopts or makes the pinned maps, loads each program once
// for the whole node, and attaches programs to devices, which it knows by number only. It decides nothing about what the
// maps say. Entry point: Load.
package loader

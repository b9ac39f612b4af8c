// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package connection has the kernel throw out, now and then, the connections that are over. It has no object: what it
// keeps in order is the datapath's own memory. Entry point: Sweeper.
package connection

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package link owns the devices, addresses, routes, neighbours and sysctls that the datapath needs on a node and in a
// sandbox. Everything here is Ensure: it looks, repairs what differs and leaves alone what is right. It knows nothing of
// maps and programs; when a device may come up is decided by its caller. Entry point: Open.
package link

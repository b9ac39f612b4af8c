// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package datapath

import "errors"

var (
	// ErrSandboxGone says that the sandbox's network namespace does not exist any more: its endpoint can only be removed.
	ErrSandboxGone = errors.New("the sandbox's network namespace is gone")

	// ErrInvalidNetns says that a path names no network namespace, or the node's own: no endpoint is ever made there.
	ErrInvalidNetns = errors.New("not the network namespace of a sandbox")

	// ErrNoNode says that EnsureNode has not succeeded yet, so that MTU and router addresses are unknown.
	ErrNoNode = errors.New("the node's own network is not set up yet")

	// ErrNoDevice says that no device has a node address or a default route.
	ErrNoDevice = errors.New("no device has an address of the node or a default route")

	// ErrTunnelPortInUse says that another device or program has the UDP port of VXLAN.
	ErrTunnelPortInUse = errors.New("the tunnel port is in use")

	// ErrForeignDevice says that a device has the name of one of ours, but is of another kind and not ours to remove.
	ErrForeignDevice = errors.New("a device of another owner has our name")

	// ErrNoBPFFS says that the folder for pinned maps is not on a bpf file system.
	ErrNoBPFFS = errors.New("not on a bpf file system")
)

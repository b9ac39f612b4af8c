// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package kernel makes a node's kernel what the words of package datapath say: it puts devices, maps and programs
// together, in the order in which no packet passes unjudged. It keeps nothing on disk; what is pinned or attached is
// adopted, compared and repaired. It refuses to know why an endpoint or node shall be so. Entry point: Open.
package kernel

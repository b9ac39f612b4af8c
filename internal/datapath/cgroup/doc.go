// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package cgroup finds the root of the node's control groups as a container sees it, and makes sure that it is the
// node's and not the container's own. Entry point: Root.
package cgroup

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package endpoint attaches the pods of this node: it turns each CiliumEndpoint of the node into devices, map entries
// and programs, says in its status how far that is, and undoes it all once the sandbox is gone. It owns the status of
// these endpoints and the life of their addresses; it does not know how the kernel is programmed. Entry point:
// Reconciler. The rules are those of docs/stories.md, story one.
package endpoint

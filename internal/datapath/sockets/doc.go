// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package sockets ends connected UDP sockets whose peer is gone: no program of ours sees what they send, and nothing
// would tell their owners. Entry point: Destroy.
package sockets

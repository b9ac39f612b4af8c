// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package cni is the agent's side of the contract with the runtime and the CNI plugin: the configuration file that makes
// the runtime call the plugin, the credential that the plugin uses, and the heartbeat from which it answers STATUS.
// Entry points: ConfigFile, Credential, Heartbeat.
package cni

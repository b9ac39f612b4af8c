// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package manifests tests what config/ renders to, with the kubectl that hack/tools builds, and runs Argo CD's health
// checks in the Lua that Argo CD uses. No API server; build tag integration.
package manifests

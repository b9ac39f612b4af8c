// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package arch is the plan of the house as a test: which floor may stand on which (docs/architecture.md), how long files
// and functions may grow, and whose name is on each file. It holds no code.
package arch

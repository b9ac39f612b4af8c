#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# generate.sh: everything that is written by programs, from what people wrote. Same input, same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
HEADER=headerFile=hack/boilerplate.go.txt

# Only the kinds: deep copies, apply configurations, CRDs.
go tool controller-gen object:$HEADER applyconfiguration:$HEADER crd \
	paths=./api/v1alpha1 output:crd:dir=config/crd/bases
# Roles follow the folders, so that least privilege can be seen.
for part in agent operator; do
	go tool controller-gen "rbac:roleName=cilium-$part" "paths=./controllers/$part/..." \
		"output:rbac:dir=config/rbac/$part"
done
# Compiled programs, the structs they share with Go, drop reasons. Needs the pinned clang.
command -v clang-19 >/dev/null || { echo "generate: clang-19 is missing: hack/deps.sh installs it" >&2 && exit 1; }
go generate ./internal/datapath/... ./hack/bench/...
go run ./hack/reference docs/reference

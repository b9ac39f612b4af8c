#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# build.sh OUT_DIR: our binaries, static, stripped of symbols and paths, as the images hold them. VERSION is stamped in.
set -euo pipefail
out=$(realpath -m "${1:?usage: build.sh OUT_DIR}")
cd "$(dirname "$0")/.."
VERSION=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}

for target in cilium-agent=./cmd/agent cilium-operator=./cmd/operator cilium-cni=./cnibin; do
	CGO_ENABLED=0 go build -trimpath -buildvcs=false \
		-ldflags "-s -w -X github.com/ciliate-io/ciliate/internal/version.Version=$VERSION" \
		-o "$out/${target%=*}" "${target#*=}"
	printf '%-16s %9d bytes\n' "${target%=*}" "$(stat -c %s "$out/${target%=*}")"
done

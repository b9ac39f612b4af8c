# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate
# shellcheck shell=bash # sourced

# KUBECTL is the kubectl that the caller named, or has, or that hack/tools built.
if [ -z "${KUBECTL:-}" ]; then
	KUBECTL=$(command -v kubectl) || KUBECTL=$("$(dirname "${BASH_SOURCE[0]}")/tools/build.sh" --bin-dir)/kubectl
fi
command -v "$KUBECTL" >/dev/null || {
	echo "kubectl is missing: install it, or run hack/tools/build.sh kubectl" >&2
	exit 1
}
k() { "$KUBECTL" "$@"; }

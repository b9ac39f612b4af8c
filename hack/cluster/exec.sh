#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# exec.sh NODE COMMAND...: runs a command as a process of the node, in all its namespaces and its cgroups.
# Also exec.sh {cp|world|fabric} COMMAND...: those are network namespaces only.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need_root
[ $# -ge 2 ] || die "usage: exec.sh NODE COMMAND..."
name=$1
shift
case $name in
cp | world | fabric) in_ns "$name" "$@" ;;
*) need_node "$name" && node_exec "$name" env PATH="$BIN:$PATH" "$@" ;;
esac

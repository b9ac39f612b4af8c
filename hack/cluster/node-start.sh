#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# node-start.sh NODE: boots the node with its old disk. Returns when containerd and the kubelet run.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/network.sh"
. "$HERE/node.sh"

need_root
need_node "${1:-}"
lock
begin "Booting $1"
node_on "$1"
wait_for 120 "$1 to have its daemons and images" node_serves "$1"
done_

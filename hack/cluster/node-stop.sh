#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# node-stop.sh NODE: pulls the node's plug. Returns when none of its processes, devices and routes is left.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HERE/network.sh"
. "$HERE/node.sh"

need_root
need_node "${1:-}"
lock
begin "Stopping $1 hard"
node_off "$1"
done_

# SPDX-License-Identifier: Apache-2.0
# Copyright Authors of Ciliate

# routes.jq: from CiliumNodes, "RANGE NODE-ADDRESS" for each range of pod addresses, in its own family.

.items[].spec
| [.addresses[] | select(.type == "InternalIP").ip] as $addresses
| .ipam.podCIDRs[]
| contains(":") as $six
| first($addresses[] | select(contains(":") == $six)) as $address
| "\(.) \($address)"

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The tunnel: the identity of the sender is its VNI. */
#ifndef CILIATE_ENCAP_H
#define CILIATE_ENCAP_H

#include "identity.h"
#include "maps.h"
#include "parse.h"

enum tunnel_number {
	TUNNEL_TTL = 64,
};

static __always_inline const struct node_config *node_config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&node, &zero);
}

/* Tells the tunnel device where the packet goes. An IPv6 outer header needs its checksum, by its
 * own rules.
 */
static __always_inline int set_tunnel_key(struct __sk_buff *skb, const struct node_config *here,
					  const struct addr *to, __u32 vni)
{
	struct bpf_tunnel_key key = { .tunnel_id = vni, .tunnel_ttl = TUNNEL_TTL };
	__u64 flags = BPF_F_TUNINFO_IPV6;

	if (addr_is_mapped(to)) {
		flags = BPF_F_ZERO_CSUM_TX;
		key.remote_ipv4 = bpf_ntohl(mapped_ipv4(to));
		key.local_ipv4 = bpf_ntohl(mapped_ipv4(&here->underlay4));
	} else {
		__builtin_memcpy(key.remote_ipv6, to, sizeof(key.remote_ipv6));
		__builtin_memcpy(key.local_ipv6, &here->underlay6, sizeof(key.local_ipv6));
	}
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

/* The VNI, and the node that sent the packet. */
static __always_inline int get_tunnel_key(struct __sk_buff *skb, struct addr *from, __u32 *vni)
{
	struct bpf_tunnel_key key = {};

	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0)) {
		map_ipv4(from, bpf_htonl(key.remote_ipv4));
	} else {
		if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
			return -DROP_NO_TUNNEL_KEY;
		__builtin_memcpy(from, key.remote_ipv6, sizeof(*from));
	}
	*vni = key.tunnel_id;
	return TC_ACT_OK;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* What an identity number means, and how it travels with a packet through the host's stack. */
#ifndef CILIATE_IDENTITY_H
#define CILIATE_IDENTITY_H

#include "maps.h"

/* Bits of skb->mark. They keep clear of kube-proxy's 0x4000 and 0x8000. */
enum mark {
	MARK_MASK = 0x0f00,
	MARK_IDENTITY = 0x0f00, /* the upper 16 bits are the source's identity */
	MARK_KEYED = 0x0e00, /* judged, and its way chosen: nothing is left to do for the device */
	MARK_IDENTITY_SHIFT = 16,
	MARK_IDENTITY_END = 1 << 16,
	MARK_OURS = 0xffff0000 | MARK_MASK,
};

static __always_inline bool identity_is_node(__u32 identity)
{
	return identity == IDENTITY_HOST || identity == IDENTITY_REMOTE_NODE ||
	       identity == IDENTITY_KUBE_APISERVER;
}

static __always_inline bool identity_is_world(__u32 identity)
{
	return identity == IDENTITY_WORLD || identity == IDENTITY_WORLD_IPV4 ||
	       identity == IDENTITY_WORLD_IPV6 || (identity & IDENTITY_CIDR_BIT);
}

/* A pod, or (0) an address in a range of pods. */
static __always_inline bool identity_is_pod(__u32 identity)
{
	return !identity_is_node(identity) && !identity_is_world(identity);
}

static __always_inline bool identity_is_known(__u32 identity)
{
	return bpf_map_lookup_elem(&identities, &identity);
}

/* Larger identities stay unmarked; to_pod finds those by address. */
static __always_inline void mark_identity(struct __sk_buff *skb, __u32 identity)
{
	if (identity < MARK_IDENTITY_END)
		skb->mark = MARK_IDENTITY | identity << MARK_IDENTITY_SHIFT;
}

static __always_inline bool is_marked(const struct __sk_buff *skb, enum mark kind)
{
	return (skb->mark & MARK_MASK) == kind;
}

/* The marked identity. */
static __always_inline __u32 marked_identity(const struct __sk_buff *skb)
{
	return skb->mark >> MARK_IDENTITY_SHIFT;
}

static __always_inline void clear_mark(struct __sk_buff *skb)
{
	skb->mark &= ~(__u32)MARK_OURS;
}

#endif

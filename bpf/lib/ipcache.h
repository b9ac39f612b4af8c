/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Whose an address is, and where. */
#ifndef CILIATE_IPCACHE_H
#define CILIATE_IPCACHE_H

#include "maps.h"
#include "parse.h"

enum cidr_bits {
	CIDR_FULL = 128,
};

/* Full addresses first: the hash is ten times faster than the trie. NULL only while the agent has
 * never filled it.
 */
static __always_inline const struct ipcache_entry *ipcache_lookup(const struct addr *a)
{
	const struct ipcache_entry *entry = bpf_map_lookup_elem(&ipcache, a);
	struct cidr_key key;

	if (entry)
		return entry;
	key.prefix_len = CIDR_FULL;
	__builtin_memcpy(key.addr, a, sizeof(key.addr));
	return bpf_map_lookup_elem(&ipcache_cidrs, &key);
}

static __always_inline bool ipcache_is_remote(const struct ipcache_entry *entry)
{
	return !addr_is_zero(&entry->node);
}

#endif

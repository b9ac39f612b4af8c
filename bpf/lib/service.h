/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* From the address of a Service to one of its backends, and back. */
#ifndef CILIATE_SERVICE_H
#define CILIATE_SERVICE_H

#include "addr.h"
#include "maps.h"

enum service_limit {
	/* Rounds of looking for a backend that moved to another slot: the agent changes few at once,
	 * and who is not found chooses anew.
	 */
	AFFINITY_SEARCH = 64,
	NANOSECONDS = 1000000000,
	/* Bits of half a word of 64. */
	HALF = 32,
};

/* Knuth's multiplier of Fibonacci hashing: neighbouring numbers land far from one another. */
static const __u64 GOLDEN = 0x9e3779b97f4a7c15ULL;

static __always_inline bool peer_equal(const struct peer *a, const struct peer *b)
{
	return a->port == b->port && addr_equal(&a->addr, &b->addr);
}

static __always_inline const struct frontend *frontend_lookup(const struct peer *to, __u8 protocol,
							      enum scope scope)
{
	struct frontend_key key = {
		.addr = to->addr,
		.port = to->port,
		.protocol = protocol,
		.scope = scope,
	};

	return bpf_map_lookup_elem(&frontends, &key);
}

/* The backend in a slot. While the agent shortens the list, a slot may be gone: the first one is
 * there as long as any is.
 */
static __always_inline const struct peer *backend_in(__u32 id, __u32 slot)
{
	struct backend_key key = { .id = id, .slot = slot };
	const struct peer *found = bpf_map_lookup_elem(&backends, &key);

	if (found || !slot)
		return found;
	key.slot = 0;
	return bpf_map_lookup_elem(&backends, &key);
}

/* Whether a backend is still one of the Service's. */
static __always_inline bool is_backend(const struct frontend *f, const struct peer *p)
{
	struct backend_key key = { .id = f->id };
	const struct peer *found;

	for (__u32 slot = 0; slot < AFFINITY_SEARCH && slot < f->count; slot++) {
		key.slot = slot;
		found = bpf_map_lookup_elem(&backends, &key);
		if (found && peer_equal(found, p))
			return true;
	}
	return false;
}

/* The backend that a client has already, if it may keep it. */
static __always_inline bool kept_backend(const struct frontend *f, const struct addr *client,
					 struct peer *to)
{
	struct affinity_key key = { .client = *client, .id = f->id };
	struct affinity *kept = bpf_map_lookup_elem(&affinities, &key);
	__u64 now = bpf_ktime_get_ns();

	if (!kept || now - kept->used > (__u64)f->affinity_seconds * NANOSECONDS)
		return false;
	if (!is_backend(f, &kept->backend))
		return false;
	kept->used = now;
	*to = kept->backend;
	return true;
}

static __always_inline __u32 slot_by_dice(const struct frontend *f, __u32 dice)
{
	return f->count ? dice % f->count : 0;
}

/* One step of hashing: what comes in last reaches all bits. */
static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * GOLDEN;
	return hash ^ hash >> HALF;
}

/* Both ends of a conversation as one number, the same on every node. With affinity all that a client
 * asks of the address counts as one: nodes that know nothing of one another keep to the same backend.
 */
static __always_inline __u32 hash_ends(const struct frontend *f, const struct packet *pkt)
{
	const __u64 *from = (const __u64 *)&pkt->saddr, *to = (const __u64 *)&pkt->daddr;
	__u64 ports = (__u64)pkt->dport << 16 | (f->affinity_seconds ? 0 : pkt->sport);
	__u64 hash = mix(mix(mix(mix(0, from[0]), from[1]), to[0]), to[1]);

	return mix(mix(hash, ports << 8 | pkt->protocol), 0) >> HALF;
}

/* Which backend a packet chooses. A Service without a table has none yet, or none any more. */
static __always_inline __u32 slot_for_packet(const struct frontend *f, const struct packet *pkt)
{
	const struct maglev_table *table = NULL;
	__u32 zero = 0, id = f->id;
	void *inner = NULL;

	if (f->flags & FRONTEND_MAGLEV)
		inner = bpf_map_lookup_elem(&maglev, &id);
	if (inner)
		table = bpf_map_lookup_elem(inner, &zero);
	if (!table)
		return slot_by_dice(f, bpf_get_prandom_u32());
	/* Below the size whatever the hash is, which the verifier sees; a remainder it would not. */
	return table->slots[(__u64)hash_ends(f, pkt) * MAGLEV_SIZE >> HALF];
}

/* Replaces the address of a Service by that of the backend in a slot, or of the one that the client
 * has already. False: there is none.
 */
static __always_inline bool choose_backend(const struct frontend *f, const struct addr *client,
					   __u32 slot, struct peer *to)
{
	struct affinity_key key = { .client = *client, .id = f->id };
	struct affinity keep = {};
	const struct peer *found;

	if (!f->count)
		return false;
	if (f->affinity_seconds && kept_backend(f, client, to))
		return true;
	found = backend_in(f->id, slot);
	if (!found)
		return false;
	*to = *found;
	if (!f->affinity_seconds)
		return true;
	keep.backend = *found;
	keep.used = bpf_ktime_get_ns();
	bpf_map_update_elem(&affinities, &key, &keep, BPF_ANY);
	return true;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* What is remembered of conversations: two entries, one for each direction, either of which can make
 * the other again. An entry of a pod that is gone is nobody's, whoever has the pod's address now.
 */
#ifndef CILIATE_CONNTRACK_H
#define CILIATE_CONNTRACK_H

#include "addr.h"
#include "endpoint.h"
#include "maps.h"
#include "parse.h"

/* How long a connection is remembered after its last packet. */
enum lifetime_seconds {
	LIFETIME_OPENING = 60,
	LIFETIME_ESTABLISHED = 8000, /* more than the two hours after which TCP keeps alive */
	LIFETIME_CLOSING = 10,
	LIFETIME_HALF_CLOSED = 120, /* where the other half is not seen, which may still speak */
	LIFETIME_ONE_WAY = 60,
	LIFETIME_BOTH_WAYS = 180,
};

enum conntrack_number {
	TCP_FLAGS = 13, /* where in the header */
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_ACK = 16,
	NANOSECONDS_PER_SECOND = 1000000000,
};

static __always_inline __u64 seconds(__u64 n)
{
	return n * NANOSECONDS_PER_SECOND;
}

static __always_inline void tuple_reverse(struct tuple *to, const struct tuple *t)
{
	to->saddr = t->daddr;
	to->daddr = t->saddr;
	to->sport = t->dport;
	to->dport = t->sport;
	to->protocol = t->protocol;
	to->kind = t->kind;
	to->pad[0] = to->pad[1] = 0;
}

static __always_inline bool tuple_equal(const struct tuple *a, const struct tuple *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}

/* Of tuples of one protocol. */
static __always_inline bool tuple_is_reverse(const struct tuple *a, const struct tuple *b)
{
	return addr_equal(&a->saddr, &b->daddr) && addr_equal(&a->daddr, &b->saddr) &&
	       a->sport == b->dport && a->dport == b->sport;
}

static __always_inline void tuple_of(struct tuple *t, const struct packet *pkt)
{
	t->saddr = pkt->saddr;
	t->daddr = pkt->daddr;
	t->sport = pkt->sport;
	t->dport = pkt->dport;
	t->protocol = pkt->protocol;
	t->kind = CONNECTION_TRANSLATED;
	t->pad[0] = t->pad[1] = 0;
}

static __always_inline struct connection *connection_lookup(const struct tuple *t)
{
	if (t->protocol == PROTOCOL_TCP)
		return bpf_map_lookup_elem(&conntrack_tcp, t);
	return bpf_map_lookup_elem(&conntrack_other, t);
}

static __always_inline long connection_put(const struct tuple *t, const struct connection *c,
					   __u64 flags)
{
	if (t->protocol == PROTOCOL_TCP)
		return bpf_map_update_elem(&conntrack_tcp, t, c, flags);
	return bpf_map_update_elem(&conntrack_other, t, c, flags);
}

static __always_inline void connection_forget(const struct tuple *t)
{
	if (t->protocol == PROTOCOL_TCP)
		bpf_map_delete_elem(&conntrack_tcp, t);
	else
		bpf_map_delete_elem(&conntrack_other, t);
}

static __always_inline bool has_generation(const struct addr *a, __u32 generation)
{
	const struct endpoint *ep = endpoint_of_address(a);

	return ep && ep->generation == generation;
}

/* Whether the pod that takes part is still there. It is the one that sends, or the one that gets. */
static __always_inline bool connection_is_current(const struct tuple *t, const struct connection *c)
{
	return !c->generation || has_generation(&t->saddr, c->generation) ||
	       has_generation(&c->becomes.daddr, c->generation);
}

static __always_inline __u64 lifetime(__u8 protocol, __u8 one, __u8 other)
{
	if (protocol != PROTOCOL_TCP)
		return one && other ? LIFETIME_BOTH_WAYS : LIFETIME_ONE_WAY;
	if ((one | other) & SEEN_RST || one & other & SEEN_FIN)
		return LIFETIME_CLOSING;
	return one & other & SEEN_DATA ? LIFETIME_ESTABLISHED : LIFETIME_OPENING;
}

/* The same of a connection of which one half is seen: who goes on sending was answered. */
static __always_inline __u64 lifetime_of_half(__u8 protocol, __u8 seen)
{
	if (protocol == PROTOCOL_TCP && (seen & (SEEN_FIN | SEEN_RST)) == SEEN_FIN)
		return LIFETIME_HALF_CLOSED;
	return lifetime(protocol, seen, seen);
}

/* What the flags of a segment show of its direction. */
static __always_inline __u8 seen_by_flags(__u8 flags)
{
	if (flags & TCP_RST)
		return SEEN_RST;
	if (flags & TCP_FIN)
		return SEEN_FIN | SEEN_DATA;
	return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN ? SEEN_SYN : SEEN_DATA;
}

/* What a packet shows of its direction. */
static __always_inline __u8 seen_in(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 flags;

	if (pkt->protocol != PROTOCOL_TCP || pkt->fragment == FRAGMENT_LATER ||
	    bpf_skb_load_bytes(skb, pkt->l4_offset + TCP_FLAGS, &flags, sizeof(flags)))
		return SEEN_DATA;
	return seen_by_flags(flags);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Translating a conversation: choosing what it is called on the other side, and leading its packets
 * and the ICMP errors about them there and back.
 */
#ifndef CILIATE_NAT_H
#define CILIATE_NAT_H

#include "conntrack.h"
#include "encap.h"
#include "icmp.h"
#include "quoted.h"
#include "rewrite.h"

enum nat_number {
	/* Ports that are tried for a new connection. With half of them in use to one peer, one
	 * connection in 65,000 finds none.
	 */
	NAT_TRIES = 16,
	/* Answer of a translation: it is none of ours. */
	NAT_FOREIGN = 1,
	LAST_ECHO_ID = 0xffff,
};

static __always_inline struct packet *packet_at_hand(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline struct translation *translation_at_hand(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch_nat, &zero);
}

/* An echo has its id where others have a port. */
static __always_inline int parse_echo(struct __sk_buff *skb, struct packet *pkt)
{
	__be16 id;

	if (pkt->fragment == FRAGMENT_LATER || !is_echo(pkt))
		return TC_ACT_OK;
	if (bpf_skb_load_bytes(skb, pkt->l4_offset + ECHO_ID, &id, sizeof(id)))
		return -DROP_INVALID_PACKET;
	if (is_echo_request(pkt->protocol, pkt->icmp_type))
		pkt->sport = id;
	else
		pkt->dport = id;
	return TC_ACT_OK;
}

/* Whether the node itself would take a packet with this tuple. */
static __always_inline bool node_has_socket(void *ctx, const struct tuple *t)
{
	struct bpf_sock_tuple end = {};
	__u32 bytes = sizeof(end.ipv4);
	struct bpf_sock *sk;

	if (addr_is_mapped(&t->saddr)) {
		end.ipv4.saddr = mapped_ipv4(&t->saddr);
		end.ipv4.daddr = mapped_ipv4(&t->daddr);
		end.ipv4.sport = t->sport;
		end.ipv4.dport = t->dport;
	} else {
		__builtin_memcpy(end.ipv6.saddr, &t->saddr, sizeof(end.ipv6.saddr));
		__builtin_memcpy(end.ipv6.daddr, &t->daddr, sizeof(end.ipv6.daddr));
		end.ipv6.sport = t->sport;
		end.ipv6.dport = t->dport;
		bytes = sizeof(end.ipv6);
	}
	if (t->protocol == PROTOCOL_TCP)
		sk = bpf_skc_lookup_tcp(ctx, &end, bytes, BPF_F_CURRENT_NETNS, 0);
	else if (t->protocol == PROTOCOL_UDP)
		sk = bpf_sk_lookup_udp(ctx, &end, bytes, BPF_F_CURRENT_NETNS, 0);
	else
		return false;
	if (!sk)
		return false;
	bpf_sk_release(sk);
	return true;
}

/* Makes the other direction again after it was evicted. NULL: another connection has its place. */
static __always_inline struct connection *connection_restore(struct translation *w,
							     const struct connection *c)
{
	w->entry = *c;
	tuple_reverse(&w->entry.becomes, &w->from);
	if (connection_put(&w->back, &w->entry, BPF_NOEXIST))
		return NULL;
	return connection_lookup(&w->back);
}

/* Notes in both directions what a packet has shown of its own. False: the other one's place is taken
 * by another connection, so that this one is over.
 */
static __always_inline bool connection_keep(struct translation *w, struct connection *c, __u8 seen)
{
	struct connection *other;
	__u64 expires;

	tuple_reverse(&w->back, &c->becomes);
	other = connection_lookup(&w->back);
	if (!other)
		other = connection_restore(w, c);
	if (!other || other->generation != c->generation ||
	    !tuple_is_reverse(&other->becomes, &w->from))
		return false;
	/* One that opens again begins anew. */
	if (seen == SEEN_SYN && ((c->seen | other->seen) & (SEEN_FIN | SEEN_RST)))
		c->seen = other->seen = 0;
	if ((c->seen | seen) != c->seen)
		c->seen |= seen;
	expires = bpf_ktime_get_ns() +
		  seconds(c->flags & CONNECTION_DSR
				  ? lifetime_of_half(w->from.protocol, c->seen)
				  : lifetime(w->from.protocol, c->seen, other->seen));
	/* Not with every packet: two processors would fight for the line. Shorter lives count. */
	if (expires - c->expires > seconds(1))
		c->expires = other->expires = expires;
	return true;
}

/* Whether the node itself would take the reply to the new connection at hand.
 *
 * This and the functions below that take nothing but skb are no inlines, so that the verifier reads
 * each of them once, and not once for each way that leads there.
 */
__noinline int socket_awaits(struct __sk_buff *skb)
{
	struct translation *w = translation_at_hand();

	return w && node_has_socket(skb, &w->back);
}

/* Takes the reply's place in the table, if it is free or held by what is dead. 1: taken. */
__noinline int connection_claim(void)
{
	struct translation *w = translation_at_hand();
	__u64 now = bpf_ktime_get_ns();
	struct connection *have;

	if (!w)
		return 0;
	__builtin_memset(&w->entry, 0, sizeof(w->entry));
	w->entry.generation = w->generation;
	w->entry.flags = w->dsr ? CONNECTION_DSR : 0;
	w->entry.expires = now + seconds(LIFETIME_OPENING);
	tuple_reverse(&w->entry.becomes, &w->from);
	if (!connection_put(&w->back, &w->entry, BPF_NOEXIST))
		return 1;
	have = connection_lookup(&w->back);
	if (!have)
		return 0;
	if (!tuple_equal(&have->becomes, &w->entry.becomes) && have->expires > now &&
	    connection_is_current(&w->back, have))
		return 0;
	return !connection_put(&w->back, &w->entry, BPF_ANY);
}

/* Whether a port may stand for a pod's: the kernel gives it to no socket, unless a program asks for
 * it by name.
 */
static __always_inline bool is_nat_port(const struct node_config *here, __be16 port)
{
	__u16 p = bpf_ntohs(port);

	return p >= here->nat_first && p <= here->nat_last;
}

/* Another port, or id of an echo. 0, which is never drawn: the packet has none that could be another. */
static __always_inline __be16 draw_port(const struct node_config *here, const struct packet *pkt)
{
	__u32 dice = bpf_get_prandom_u32();

	switch (pkt->protocol) {
	case PROTOCOL_TCP:
	case PROTOCOL_UDP:
	case PROTOCOL_UDPLITE:
		return bpf_htons(here->nat_first + dice % (here->nat_last - here->nat_first + 1u));
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		return is_echo_request(pkt->protocol, pkt->icmp_type)
			       ? bpf_htons(1 + dice % LAST_ECHO_ID)
			       : 0;
	}
	return 0;
}

/* Whether the source port may stay as it is. */
static __always_inline bool keeps_port(const struct node_config *here, const struct translation *w)
{
	switch (w->from.protocol) {
	case PROTOCOL_TCP:
	case PROTOCOL_UDP:
	case PROTOCOL_UDPLITE:
		return !w->source_is_node || is_nat_port(here, w->becomes.sport);
	}
	return true;
}

/* Writes both entries of the new connection at hand, after it has found a source port. awaits is
 * socket_awaits for the kind of ctx.
 */
static __always_inline int open_connection(void *ctx, int (*awaits)(void *ctx),
					   const struct packet *pkt, struct translation *w,
					   __u8 seen)
{
	const struct node_config *here = node_config();
	bool found = false;

	if (!here)
		return -DROP_NAT_NO_MAPPING;
	for (int i = 0; i < NAT_TRIES && !found; i++) {
		if (i || !keeps_port(here, w)) {
			w->becomes.sport = w->source_is_node ? draw_port(here, pkt) : 0;
			if (!w->becomes.sport)
				return -DROP_NAT_NO_MAPPING;
		}
		tuple_reverse(&w->back, &w->becomes);
		found = !(w->source_is_node && awaits(ctx)) && connection_claim();
	}
	if (!found)
		return -DROP_NAT_NO_MAPPING;
	w->entry.seen = seen;
	w->entry.becomes = w->becomes;
	return connection_put(&w->from, &w->entry, BPF_ANY) ? -DROP_NO_CONNECTION : TC_ACT_OK;
}

__noinline int connection_open(struct __sk_buff *skb)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	return open_connection(skb, (int (*)(void *))socket_awaits, pkt, w, seen_in(skb, pkt));
}

/* Leads an ICMP error to who sent the packet that it is about. NAT_FOREIGN: nobody of ours. */
__noinline int translate_error(struct __sk_buff *skb)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();
	const struct connection *c;
	struct quoted *q;
	int verdict;

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	w->dsr = 0;
	q = &w->quoted;
	__builtin_memset(q, 0, sizeof(*q));
	q->t.kind = CONNECTION_TRANSLATED;
	q->l3_offset = pkt->l4_offset + sizeof(struct icmp_error);
	if (pkt->family == AF_INET ? !parse_quoted_ipv4(skb, q) : !parse_quoted_ipv6(skb, q))
		return NAT_FOREIGN;
	if (!parse_quoted_ports(skb, q))
		return NAT_FOREIGN;
	tuple_reverse(&w->back, &q->t);
	c = connection_lookup(&w->back);
	if (!c || !connection_is_current(&w->back, c))
		return NAT_FOREIGN;
	w->becomes = c->becomes;
	verdict = rewrite_quoted(skb, pkt, q, &w->becomes);
	if (verdict)
		return verdict;
	/* Where the other end goes by another address, so does a router on the way: of a node others
	 * take nothing through the tunnel but what has an address of that node.
	 */
	if (!addr_equal(&w->back.saddr, &w->becomes.saddr)) {
		verdict = replace_source(skb, pkt, &w->becomes.saddr);
		if (verdict)
			return verdict;
	}
	if (!addr_equal(&pkt->daddr, &w->back.daddr))
		return TC_ACT_OK;
	return replace_destination(skb, pkt, &w->becomes.daddr);
}

/* Leads a packet of a known connection to its other side. NAT_FOREIGN: it is none. */
__noinline int translate_known(struct __sk_buff *skb)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();
	struct connection *c;

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	tuple_of(&w->from, pkt);
	c = connection_lookup(&w->from);
	if (!c || !connection_is_current(&w->from, c) || !connection_keep(w, c, seen_in(skb, pkt)))
		return NAT_FOREIGN;
	w->becomes = c->becomes;
	w->dsr = !!(c->flags & CONNECTION_DSR);
	return rewrite(skb, pkt, &w->becomes);
}

#endif

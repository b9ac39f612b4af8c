/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The packet that an ICMP error quotes: reading it, and making it what its sender sent. */
#ifndef CILIATE_QUOTED_H
#define CILIATE_QUOTED_H

#include "icmp.h"
#include "rewrite.h"

static __always_inline bool parse_quoted_ipv4(struct __sk_buff *skb, struct quoted *q)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, q->l3_offset, &ip, sizeof(ip)))
		return false;
	if (ip.version != 4 || ip.ihl < IPV4_MIN_IHL ||
	    (ip.frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET)))
		return false;
	map_ipv4(&q->t.saddr, ip.saddr);
	map_ipv4(&q->t.daddr, ip.daddr);
	q->t.protocol = ip.protocol;
	q->l4_offset = q->l3_offset + ip.ihl * IPV4_WORD;
	return true;
}

/* Of quoted extension headers only that of a first fragment is looked behind. */
static __always_inline bool parse_quoted_ipv6(struct __sk_buff *skb, struct quoted *q)
{
	struct ipv6_fragment fragment;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, q->l3_offset, &ip, sizeof(ip)) || ip.version != 6)
		return false;
	__builtin_memcpy(&q->t.saddr, &ip.saddr, sizeof(q->t.saddr));
	__builtin_memcpy(&q->t.daddr, &ip.daddr, sizeof(q->t.daddr));
	q->t.protocol = ip.nexthdr;
	q->l4_offset = q->l3_offset + sizeof(ip);
	if (ip.nexthdr != PROTOCOL_FRAGMENT)
		return true;
	if (bpf_skb_load_bytes(skb, q->l4_offset, &fragment, sizeof(fragment)) ||
	    (fragment.offset & bpf_htons(IPV6_FRAGMENT_OFFSET)))
		return false;
	q->t.protocol = fragment.next;
	q->l4_offset += sizeof(fragment);
	return true;
}

static __always_inline bool parse_quoted_ports(struct __sk_buff *skb, struct quoted *q)
{
	__be16 ports[2];
	__u8 type;

	switch (q->t.protocol) {
	case PROTOCOL_TCP:
	case PROTOCOL_UDP:
	case PROTOCOL_SCTP:
	case PROTOCOL_UDPLITE:
		if (bpf_skb_load_bytes(skb, q->l4_offset, ports, sizeof(ports)))
			return false;
		q->t.sport = ports[0];
		q->t.dport = ports[1];
		return true;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		if (bpf_skb_load_bytes(skb, q->l4_offset, &type, sizeof(type)) ||
		    bpf_skb_load_bytes(skb, q->l4_offset + ECHO_ID, ports, sizeof(ports[0])))
			return false;
		q->echo = true;
		if (is_echo_request(q->t.protocol, type))
			q->t.sport = ports[0];
		else if (is_echo_reply(q->t.protocol, type))
			q->t.dport = ports[0];
		else
			return false;
		return true;
	}
	return true;
}

/* Changes a field of the quoted packet; the error's checksum covers it. The quoted packet's own sum
 * stays: nobody looks at it, and most quotations end before it.
 */
static __always_inline int replace_quoted_port(struct __sk_buff *skb, const struct packet *pkt,
					       const struct quoted *q, __u32 field, __be16 from,
					       __be16 to)
{
	if (from == to)
		return TC_ACT_OK;
	if (bpf_l4_csum_replace(skb, pkt->l4_offset + ICMP_CHECKSUM, from, to, sizeof(to)) ||
	    bpf_skb_store_bytes(skb, q->l4_offset + (q->echo ? ECHO_ID : field), &to, sizeof(to),
				0))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

/* In IPv4 the quoted header's own checksum makes up for the change. */
static __always_inline int replace_quoted_ipv4(struct __sk_buff *skb, const struct quoted *q,
					       __u32 field, const struct addr *from,
					       const struct addr *to)
{
	__be32 old = mapped_ipv4(from), new = mapped_ipv4(to);

	if (old == new)
		return TC_ACT_OK;
	if (bpf_l3_csum_replace(skb, q->l3_offset + offsetof(struct iphdr, check), old, new,
				sizeof(new)) ||
	    bpf_skb_store_bytes(skb, q->l3_offset + field, &new, sizeof(new), 0))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

static __always_inline int replace_quoted_ipv6(struct __sk_buff *skb, const struct packet *pkt,
					       const struct quoted *q, __u32 field,
					       const struct addr *from, const struct addr *to)
{
	__s64 change;

	if (addr_equal(from, to))
		return TC_ACT_OK;
	change = bpf_csum_diff((__be32 *)from, sizeof(*from), (__be32 *)to, sizeof(*to), 0);
	if (bpf_l4_csum_replace(skb, pkt->l4_offset + ICMP_CHECKSUM, 0, change, 0) ||
	    bpf_skb_store_bytes(skb, q->l3_offset + field, to, sizeof(*to), 0))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

/* The quoted packet went the other way: what the connection becomes, reversed, is what it was. */
static __always_inline int rewrite_quoted(struct __sk_buff *skb, const struct packet *pkt,
					  const struct quoted *q, const struct tuple *becomes)
{
	const struct addr *saddr = &becomes->daddr, *daddr = &becomes->saddr;
	int verdict;

	if (pkt->family == AF_INET) {
		verdict = replace_quoted_ipv4(skb, q, offsetof(struct iphdr, saddr), &q->t.saddr,
					      saddr);
		if (!verdict)
			verdict = replace_quoted_ipv4(skb, q, offsetof(struct iphdr, daddr),
						      &q->t.daddr, daddr);
	} else {
		verdict = replace_quoted_ipv6(skb, pkt, q, offsetof(struct ipv6hdr, saddr),
					      &q->t.saddr, saddr);
		if (!verdict)
			verdict = replace_quoted_ipv6(skb, pkt, q, offsetof(struct ipv6hdr, daddr),
						      &q->t.daddr, daddr);
	}
	if (verdict)
		return verdict;
	verdict = replace_quoted_port(skb, pkt, q, SOURCE_PORT, q->t.sport, becomes->dport);
	if (verdict)
		return verdict;
	return replace_quoted_port(skb, pkt, q, DESTINATION_PORT, q->t.dport, becomes->sport);
}

#endif

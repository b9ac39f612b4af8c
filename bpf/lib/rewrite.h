/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Changing addresses and ports where they stand, and every checksum that covers them. Here, as in
 * parse.h, IPv4 and IPv6 differ.
 */
#ifndef CILIATE_REWRITE_H
#define CILIATE_REWRITE_H

#include "addr.h"
#include "icmp.h"
#include "parse.h"

/* Bytes from the start of a header. */
enum field {
	TCP_CHECKSUM = 16,
	UDP_CHECKSUM = 6,
	ICMP_CHECKSUM = 2,
	ECHO_ID = 4,
	SOURCE_PORT = 0,
	DESTINATION_PORT = 2,
};

/* Where the checksum is that covers the ports; 0: this packet has none. */
static __always_inline __u32 checksum_offset(const struct packet *pkt)
{
	if (pkt->fragment == FRAGMENT_LATER)
		return 0;
	switch (pkt->protocol) {
	case PROTOCOL_TCP:
		return pkt->l4_offset + TCP_CHECKSUM;
	case PROTOCOL_UDP:
	case PROTOCOL_UDPLITE:
		return pkt->l4_offset + UDP_CHECKSUM;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		return pkt->l4_offset + ICMP_CHECKSUM;
	}
	return 0;
}

/* A UDP packet without a checksum keeps none. */
static __always_inline __u64 checksum_flags(const struct packet *pkt)
{
	return pkt->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* How a checksum follows an address of the pseudo header. Where the card has summed up the whole
 * packet, that sum stays: address and checksum make up for one another. For IPv4 it is the header's
 * own checksum that makes up, which the kernel takes for granted in both families; so it must not
 * be told of a pseudo header then.
 */
static __always_inline __u64 pseudo_flags(struct __sk_buff *skb, const struct packet *pkt)
{
	if (pkt->family == AF_INET6 && bpf_csum_update(skb, 0) >= 0)
		return checksum_flags(pkt);
	return checksum_flags(pkt) | BPF_F_PSEUDO_HDR;
}

static __always_inline int replace_ipv4(struct __sk_buff *skb, const struct packet *pkt,
					__u32 field, const struct addr *from, const struct addr *to)
{
	__be32 old = mapped_ipv4(from), new = mapped_ipv4(to);
	__u32 sum = checksum_offset(pkt);

	if (bpf_l3_csum_replace(skb, pkt->l3_offset + offsetof(struct iphdr, check), old, new,
				sizeof(new)))
		return -DROP_WRITE_ERROR;
	/* ICMP for IPv4 has no pseudo header. */
	if (sum && pkt->protocol != PROTOCOL_ICMP &&
	    bpf_l4_csum_replace(skb, sum, old, new, pseudo_flags(skb, pkt) | sizeof(new)))
		return -DROP_WRITE_ERROR;
	if (bpf_skb_store_bytes(skb, pkt->l3_offset + field, &new, sizeof(new), 0))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

static __always_inline int replace_ipv6(struct __sk_buff *skb, const struct packet *pkt,
					__u32 field, const struct addr *from, const struct addr *to)
{
	__u32 sum = checksum_offset(pkt);
	__s64 change = bpf_csum_diff((__be32 *)from, sizeof(*from), (__be32 *)to, sizeof(*to), 0);

	if (sum && bpf_l4_csum_replace(skb, sum, 0, change, pseudo_flags(skb, pkt)))
		return -DROP_WRITE_ERROR;
	if (bpf_skb_store_bytes(skb, pkt->l3_offset + field, to, sizeof(*to), 0))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

static __always_inline int replace_source(struct __sk_buff *skb, struct packet *pkt,
					  const struct addr *to)
{
	int verdict;

	if (addr_equal(&pkt->saddr, to))
		return TC_ACT_OK;
	if (pkt->family == AF_INET)
		verdict = replace_ipv4(skb, pkt, offsetof(struct iphdr, saddr), &pkt->saddr, to);
	else
		verdict = replace_ipv6(skb, pkt, offsetof(struct ipv6hdr, saddr), &pkt->saddr, to);
	pkt->saddr = *to;
	return verdict;
}

static __always_inline int replace_destination(struct __sk_buff *skb, struct packet *pkt,
					       const struct addr *to)
{
	int verdict;

	if (addr_equal(&pkt->daddr, to))
		return TC_ACT_OK;
	if (pkt->family == AF_INET)
		verdict = replace_ipv4(skb, pkt, offsetof(struct iphdr, daddr), &pkt->daddr, to);
	else
		verdict = replace_ipv6(skb, pkt, offsetof(struct ipv6hdr, daddr), &pkt->daddr, to);
	pkt->daddr = *to;
	return verdict;
}

static __always_inline int replace_port(struct __sk_buff *skb, const struct packet *pkt,
					__u32 field, __be16 from, __be16 to)
{
	__u32 sum = checksum_offset(pkt);

	if (from == to || pkt->fragment == FRAGMENT_LATER)
		return TC_ACT_OK;
	if (is_echo(pkt))
		field = ECHO_ID;
	if (sum && bpf_l4_csum_replace(skb, sum, from, to, checksum_flags(pkt) | sizeof(to)))
		return -DROP_WRITE_ERROR;
	if (bpf_skb_store_bytes(skb, pkt->l4_offset + field, &to, sizeof(to), 0))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

/* Makes the packet another's. */
static __always_inline int rewrite(struct __sk_buff *skb, struct packet *pkt,
				   const struct tuple *to)
{
	int verdict = replace_source(skb, pkt, &to->saddr);

	if (verdict)
		return verdict;
	verdict = replace_destination(skb, pkt, &to->daddr);
	if (verdict)
		return verdict;
	verdict = replace_port(skb, pkt, SOURCE_PORT, pkt->sport, to->sport);
	if (verdict)
		return verdict;
	verdict = replace_port(skb, pkt, DESTINATION_PORT, pkt->dport, to->dport);
	pkt->sport = to->sport;
	pkt->dport = to->dport;
	return verdict;
}

#endif

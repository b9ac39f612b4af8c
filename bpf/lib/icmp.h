/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Echoes and errors, and telling a sender that nobody listens, or that less fits. */
#ifndef CILIATE_ICMP_H
#define CILIATE_ICMP_H

#include "endpoint.h"
#include "neighbor.h"
#include "parse.h"

enum icmp_number {
	/* Bytes of the packet that are sent back; one call of bpf_csum_diff takes twice as many. */
	ICMP_QUOTE = 256,
	ICMPV4_PORT_UNREACHABLE = 3, /* codes */
	ICMPV4_FRAG_NEEDED = 4,
	ICMPV6_UNREACHABLE = 1,
	ICMPV6_PORT_UNREACHABLE = 4, /* code */
	ICMPV4_ECHO_REPLY = 0,
	ICMPV4_ECHO_REQUEST = 8,
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
};

struct icmp_error {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 mtu;
};
_Static_assert(sizeof(struct icmp_error) == 8, "icmp_error");

/* Bytes of the largest IP packet that will go out for this one. */
static __always_inline __u32 segment_bytes(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 header = sizeof(struct udphdr);
	__u8 words;

	if (!skb->gso_size)
		return skb->len - ETH_HLEN;
	if (pkt->protocol == PROTOCOL_TCP) {
		if (bpf_skb_load_bytes(skb, pkt->l4_offset + 12, &words, sizeof(words)))
			return skb->len - ETH_HLEN;
		header = (words >> 4) * IPV4_WORD;
	}
	return pkt->l4_offset - ETH_HLEN + header + skb->gso_size;
}

/* Whether that is more than an MTU, of which 0 is none. */
static __always_inline bool exceeds(struct __sk_buff *skb, const struct packet *pkt, __u32 mtu)
{
	/* No segment is larger than the whole, whose length costs nothing to know. */
	return mtu && skb->len - ETH_HLEN > mtu && segment_bytes(skb, pkt) > mtu;
}

static __always_inline bool is_echo_request(__u8 protocol, __u8 type)
{
	return (protocol == PROTOCOL_ICMP && type == ICMPV4_ECHO_REQUEST) ||
	       (protocol == PROTOCOL_ICMPV6 && type == ICMPV6_ECHO_REQUEST);
}

static __always_inline bool is_echo_reply(__u8 protocol, __u8 type)
{
	return (protocol == PROTOCOL_ICMP && type == ICMPV4_ECHO_REPLY) ||
	       (protocol == PROTOCOL_ICMPV6 && type == ICMPV6_ECHO_REPLY);
}

static __always_inline bool is_echo(const struct packet *pkt)
{
	return is_echo_request(pkt->protocol, pkt->icmp_type) ||
	       is_echo_reply(pkt->protocol, pkt->icmp_type);
}

/* Errors are never answered by errors. */
static __always_inline bool is_icmp_error(const struct packet *pkt)
{
	if (pkt->fragment == FRAGMENT_LATER)
		return false;
	if (pkt->protocol == PROTOCOL_ICMPV6)
		return pkt->icmp_type < ICMPV6_FIRST_INFORMATIONAL;
	if (pkt->protocol != PROTOCOL_ICMP)
		return false;
	return pkt->icmp_type == ICMPV4_UNREACHABLE || pkt->icmp_type == ICMPV4_QUENCH ||
	       pkt->icmp_type == ICMPV4_REDIRECT || pkt->icmp_type == ICMPV4_TIME_EXCEEDED ||
	       pkt->icmp_type == ICMPV4_PARAMETER;
}

/* Cuts the packet down to the quotation and makes room for headers before it. */
static __always_inline void *quote(struct __sk_buff *skb, __u32 headers)
{
	if (bpf_skb_change_tail(skb, ETH_HLEN + ICMP_QUOTE, 0) ||
	    bpf_skb_adjust_room(skb, headers, BPF_ADJ_ROOM_MAC, 0))
		return NULL;
	return linear(skb, ETH_HLEN + headers + ICMP_QUOTE);
}

/* To where the packet came from: into the pod, or out of the card. */
static __always_inline int return_to_sender(struct __sk_buff *skb, const struct packet *pkt)
{
	if (pkt->from_pod)
		return send_back(skb);
	skb->mark = 0;
	return bpf_redirect(skb->ifindex, 0);
}

/* What is said to a sender, and by whom. */
struct answer {
	const struct addr *from;
	__u8 type;
	__u8 code;
	__u32 mtu;
};

static __always_inline int answer_ipv4(struct __sk_buff *skb, const struct packet *pkt,
				       const struct answer *a)
{
	struct icmp_error *icmp;
	struct ethhdr *eth = quote(skb, sizeof(struct iphdr) + sizeof(*icmp));
	struct iphdr *ip;

	if (!eth)
		return -DROP_WRITE_ERROR;
	write_macs(eth, pkt->dmac, pkt->smac);
	ip = (void *)eth + ETH_HLEN;
	icmp = (void *)ip + sizeof(*ip);
	__builtin_memset(ip, 0, sizeof(*ip) + sizeof(*icmp));
	*(__u8 *)ip = IPV4_VERSION_IHL;
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*icmp) + ICMP_QUOTE);
	ip->ttl = TUNNEL_TTL;
	ip->protocol = PROTOCOL_ICMP;
	ip->saddr = mapped_ipv4(a->from);
	ip->daddr = mapped_ipv4(&pkt->saddr);
	ip->check = fold(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
	icmp->type = a->type;
	icmp->code = a->code;
	icmp->mtu = bpf_htonl(a->mtu);
	icmp->checksum =
		fold(bpf_csum_diff(NULL, 0, (__be32 *)icmp, sizeof(*icmp) + ICMP_QUOTE, 0));
	return return_to_sender(skb, pkt);
}

static __always_inline int answer_ipv6(struct __sk_buff *skb, const struct packet *pkt,
				       const struct answer *a)
{
	__be32 pseudo[2] = { bpf_htonl(sizeof(struct icmp_error) + ICMP_QUOTE),
			     bpf_htonl(PROTOCOL_ICMPV6) };
	struct icmp_error *icmp;
	struct ethhdr *eth = quote(skb, sizeof(struct ipv6hdr) + sizeof(*icmp));
	struct ipv6hdr *ip;
	__s64 sum;

	if (!eth)
		return -DROP_WRITE_ERROR;
	write_macs(eth, pkt->dmac, pkt->smac);
	ip = (void *)eth + ETH_HLEN;
	icmp = (void *)ip + sizeof(*ip);
	__builtin_memset(ip, 0, sizeof(*ip) + sizeof(*icmp));
	ip->version = 6;
	ip->payload_len = bpf_htons(sizeof(*icmp) + ICMP_QUOTE);
	ip->nexthdr = PROTOCOL_ICMPV6;
	ip->hop_limit = TUNNEL_TTL;
	__builtin_memcpy(&ip->saddr, a->from, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &pkt->saddr, sizeof(ip->daddr));
	icmp->type = a->type;
	icmp->code = a->code;
	icmp->mtu = bpf_htonl(a->mtu);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, 2 * sizeof(struct addr), 0);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)icmp, sizeof(*icmp) + ICMP_QUOTE, sum);
	icmp->checksum = fold(sum);
	return return_to_sender(skb, pkt);
}

/* Answers instead of sending. The packet counts as dropped all the same. */
static __always_inline int answer_too_big(struct __sk_buff *skb, struct packet *pkt,
					  const struct addr *from, __u32 mtu)
{
	struct answer a = { .from = from, .mtu = mtu };

	if (pkt->fragment == FRAGMENT_LATER || is_icmp_error(pkt))
		return -DROP_TOO_BIG;
	pkt->reason = DROP_TOO_BIG;
	if (pkt->family == AF_INET) {
		a.type = ICMPV4_UNREACHABLE;
		a.code = ICMPV4_FRAG_NEEDED;
		return answer_ipv4(skb, pkt, &a);
	}
	a.type = ICMPV6_TOO_BIG;
	return answer_ipv6(skb, pkt, &a);
}

/* Says that nobody listens. */
static __always_inline int answer_unreachable(struct __sk_buff *skb, struct packet *pkt,
					      const struct addr *from)
{
	struct answer a = { .from = from };

	if (pkt->fragment == FRAGMENT_LATER)
		return -DROP_REFUSED;
	pkt->reason = DROP_REFUSED;
	if (pkt->family == AF_INET) {
		a.type = ICMPV4_UNREACHABLE;
		a.code = ICMPV4_PORT_UNREACHABLE;
		return answer_ipv4(skb, pkt, &a);
	}
	a.type = ICMPV6_UNREACHABLE;
	a.code = ICMPV6_PORT_UNREACHABLE;
	return answer_ipv6(skb, pkt, &a);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Refusing a packet at once, so that nobody waits: TCP by a reset, all else by ICMP. */
#ifndef CILIATE_REFUSE_H
#define CILIATE_REFUSE_H

#include "icmp.h"
#include "parse.h"

/* The reset that answers a segment, without its checksum. */
static __always_inline void make_reset(struct tcphdr *out, const struct tcphdr *in, __u32 payload)
{
	__builtin_memset(out, 0, sizeof(*out));
	out->source = in->dest;
	out->dest = in->source;
	out->doff = sizeof(*out) / IPV4_WORD;
	out->rst = 1;
	if (in->ack) {
		out->seq = in->ack_seq;
		return;
	}
	out->ack = 1;
	out->ack_seq = bpf_htonl(bpf_ntohl(in->seq) + in->syn + in->fin + payload);
}

/* Addresses, length and protocol of a segment, in the order of IPv6; for IPv4 the sum is the same. */
static __always_inline __sum16 tcp_sum(const struct packet *pkt, const struct tcphdr *tcp)
{
	__be32 pseudo[2] = { bpf_htonl(sizeof(*tcp)), bpf_htonl(PROTOCOL_TCP) };
	__be32 v4[2] = { mapped_ipv4(&pkt->saddr), mapped_ipv4(&pkt->daddr) };
	__s64 sum;

	if (pkt->family == AF_INET)
		sum = bpf_csum_diff(NULL, 0, v4, sizeof(v4), 0);
	else
		sum = bpf_csum_diff(NULL, 0, (__be32 *)&pkt->saddr, 2 * sizeof(struct addr), 0);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	return fold(bpf_csum_diff(NULL, 0, (__be32 *)tcp, sizeof(*tcp), sum));
}

static __always_inline void write_ipv4(struct iphdr *ip, const struct packet *pkt)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	*(__u8 *)ip = IPV4_VERSION_IHL;
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(struct tcphdr));
	ip->ttl = TUNNEL_TTL;
	ip->protocol = PROTOCOL_TCP;
	ip->saddr = mapped_ipv4(&pkt->daddr);
	ip->daddr = mapped_ipv4(&pkt->saddr);
	ip->check = fold(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
}

static __always_inline void write_ipv6(struct ipv6hdr *ip, const struct packet *pkt)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->payload_len = bpf_htons(sizeof(struct tcphdr));
	ip->nexthdr = PROTOCOL_TCP;
	ip->hop_limit = TUNNEL_TTL;
	__builtin_memcpy(&ip->saddr, &pkt->daddr, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &pkt->saddr, sizeof(ip->daddr));
}

/* Bytes that a segment carries. */
static __always_inline __u32 payload_of(const struct __sk_buff *skb, const struct packet *pkt,
					const struct tcphdr *tcp)
{
	return skb->len - pkt->l4_offset - tcp->doff * IPV4_WORD;
}

static __always_inline int answer_reset(struct __sk_buff *skb, struct packet *pkt)
{
	__u32 l4 =
		ETH_HLEN + (pkt->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	struct tcphdr in, out;
	struct ethhdr *eth;

	/* Nobody resets a reset. */
	if (bpf_skb_load_bytes(skb, pkt->l4_offset, &in, sizeof(in)) || in.rst)
		return -DROP_REFUSED;
	make_reset(&out, &in, payload_of(skb, pkt, &in));
	out.check = tcp_sum(pkt, &out);
	if (bpf_skb_change_tail(skb, l4 + sizeof(out), 0))
		return -DROP_REFUSED;
	eth = linear(skb, ETH_HLEN + sizeof(struct iphdr) + sizeof(out));
	if (!eth)
		return -DROP_REFUSED;
	write_macs(eth, pkt->dmac, pkt->smac);
	if (pkt->family == AF_INET) {
		write_ipv4((void *)eth + ETH_HLEN, pkt);
	} else {
		eth = linear(skb, ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(out));
		if (!eth)
			return -DROP_REFUSED;
		write_ipv6((void *)eth + ETH_HLEN, pkt);
	}
	if (bpf_skb_store_bytes(skb, l4, &out, sizeof(out), 0))
		return -DROP_REFUSED;
	pkt->reason = DROP_REFUSED;
	return return_to_sender(skb, pkt);
}

/* A reset is the Service's word, an ICMP error that of whom the sender knows on its way. */
static __always_inline int refuse(struct __sk_buff *skb, struct packet *pkt,
				  const struct addr *from)
{
	if (pkt->protocol == PROTOCOL_TCP)
		return answer_reset(skb, pkt);
	return answer_unreachable(skb, pkt, from);
}

#endif

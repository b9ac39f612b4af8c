/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* From frame to struct packet. What differs between IPv4 and IPv6 is here, so that nobody else has
 * to know.
 */
#ifndef CILIATE_PARSE_H
#define CILIATE_PARSE_H

#include "addr.h"
#include "types.h"

enum parse_limits {
	IPV4_VERSION_IHL = 0x45, /* version 4, header of 20 bytes */
	IPV4_WORD = 4, /* bytes that one unit of the header length stands for */
	IPV4_MIN_IHL = 5,
	IPV4_DONT_FRAGMENT = 0x4000,
	IPV4_MORE_FRAGMENTS = 0x2000,
	IPV4_FRAGMENT_OFFSET = 0x1fff,
	IPV4_FIRST_MULTICAST = 224, /* first byte; 240 and above are reserved or broadcast */
	IPV4_TTL_STEP = 0x0100, /* one hop, as the checksum sees it */
	IPV6_MAX_EXTENSIONS = 6,
	IPV6_EXTENSION_UNIT = 8, /* bytes */
	IPV6_MORE_FRAGMENTS = 0x0001,
	IPV6_FRAGMENT_OFFSET = 0xfff8,
	IPV6_MULTICAST = 0xff, /* first byte */
	MAC_MULTICAST_BIT = 1,
	MAX_PEEK = 255, /* offset; the verifier wants it small */
};

/* linux/in.h has these for sockets only, not as plain numbers for every libc. */
enum ip_protocol {
	PROTOCOL_HOPOPTS = 0,
	PROTOCOL_ICMP = 1,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ROUTING = 43,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_AH = 51,
	PROTOCOL_ICMPV6 = 58,
	PROTOCOL_DSTOPTS = 60,
	PROTOCOL_SCTP = 132,
	PROTOCOL_UDPLITE = 136,
};

struct ipv6_extension {
	__u8 next;
	__u8 length; /* beyond the first 8 bytes, in units of 8; for AH, of 4 */
};

struct ipv6_fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset; /* and flags */
	__be32 id;
};

/* The frame's first length bytes in one piece, or NULL. */
static __always_inline void *linear(struct __sk_buff *skb, __u32 length)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

	if (data + length <= end)
		return data;
	if (bpf_skb_pull_data(skb, length))
		return NULL;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	return data + length <= end ? data : NULL;
}

/* Some bytes of the frame, if they are at hand: nothing is pulled, and nothing called. */
static __always_inline void *peek(struct __sk_buff *skb, __u32 offset, __u32 bytes)
{
	void *data = (void *)(long)skb->data + offset;

	if (offset > MAX_PEEK)
		return NULL;
	return data + bytes <= (void *)(long)skb->data_end ? data : NULL;
}

/* A group or a broadcast, by frame or by address. */
static __always_inline bool is_multicast(const struct packet *pkt)
{
	if (pkt->dmac[0] & MAC_MULTICAST_BIT)
		return true;
	if (pkt->family == AF_INET)
		return pkt->daddr.b[MAPPED_START] >= IPV4_FIRST_MULTICAST;
	return pkt->daddr.b[0] == IPV6_MULTICAST;
}

static __always_inline int parse_ports(struct __sk_buff *skb, struct packet *pkt)
{
	const __be16 *ports = peek(skb, pkt->l4_offset, 2 * sizeof(*ports));

	if (ports) {
		pkt->sport = ports[0];
		pkt->dport = ports[1];
		return TC_ACT_OK;
	}
	if (bpf_skb_load_bytes(skb, pkt->l4_offset, &pkt->sport, 2 * sizeof(*ports)))
		return -DROP_INVALID_PACKET;
	return TC_ACT_OK;
}

static __always_inline int parse_icmp_type(struct __sk_buff *skb, struct packet *pkt)
{
	const __u8 *type = peek(skb, pkt->l4_offset, sizeof(*type));

	if (type) {
		pkt->icmp_type = *type;
		return TC_ACT_OK;
	}
	if (bpf_skb_load_bytes(skb, pkt->l4_offset, &pkt->icmp_type, sizeof(*type)))
		return -DROP_INVALID_PACKET;
	return TC_ACT_OK;
}

/* Ports, or the type of ICMP. A first fragment too short to have them is nobody's honest work. */
static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *pkt)
{
	switch (pkt->protocol) {
	case PROTOCOL_TCP:
	case PROTOCOL_UDP:
	case PROTOCOL_SCTP:
	case PROTOCOL_UDPLITE:
		return parse_ports(skb, pkt);
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		return parse_icmp_type(skb, pkt);
	}
	return TC_ACT_OK;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *pkt, __u32 l3)
{
	struct iphdr *ip = linear(skb, l3 + sizeof(*ip));
	__u32 header, total;
	__u16 fragment;

	if (!ip)
		return -DROP_INVALID_PACKET;
	ip = (void *)ip + l3;
	header = ip->ihl * IPV4_WORD;
	total = bpf_ntohs(ip->tot_len);
	/* A GSO packet above 64 KB has no length in its header. */
	if (ip->version != 4 || ip->ihl < IPV4_MIN_IHL || total > skb->len - l3 ||
	    (total < header && !skb->gso_size))
		return -DROP_INVALID_PACKET;
	map_ipv4(&pkt->saddr, ip->saddr);
	map_ipv4(&pkt->daddr, ip->daddr);
	pkt->family = AF_INET;
	pkt->ttl = ip->ttl;
	pkt->protocol = pkt->fragment_protocol = ip->protocol;
	pkt->l3_offset = l3;
	pkt->l4_offset = l3 + header;
	fragment = bpf_ntohs(ip->frag_off);
	pkt->dont_fragment = !!(fragment & IPV4_DONT_FRAGMENT);
	pkt->fragment_id = ip->id;
	if (fragment & IPV4_FRAGMENT_OFFSET) {
		pkt->fragment = FRAGMENT_LATER;
		return TC_ACT_OK;
	}
	pkt->fragment = fragment & IPV4_MORE_FRAGMENTS ? FRAGMENT_FIRST : FRAGMENT_NONE;
	return parse_l4(skb, pkt);
}

static __always_inline int parse_ipv6_fragment(struct __sk_buff *skb, struct packet *pkt,
					       __u32 offset)
{
	struct ipv6_fragment header;
	__u16 place;

	if (bpf_skb_load_bytes(skb, offset, &header, sizeof(header)))
		return -DROP_INVALID_PACKET;
	place = bpf_ntohs(header.offset);
	pkt->protocol = pkt->fragment_protocol = header.next;
	pkt->fragment_id = header.id;
	if (place & IPV6_FRAGMENT_OFFSET)
		pkt->fragment = FRAGMENT_LATER;
	else if (place & IPV6_MORE_FRAGMENTS)
		pkt->fragment = FRAGMENT_FIRST;
	return TC_ACT_OK;
}

/* Walks the chain of extension headers to what they carry. Behind the header of a later fragment
 * there is only payload.
 */
static __always_inline int parse_ipv6_extensions(struct __sk_buff *skb, struct packet *pkt)
{
	struct ipv6_extension header;
	__u32 offset = pkt->l4_offset;
	bool fragmented = false;
	int i, verdict;

	/* Unrolled: a counter that clang puts beside header on the stack is lost to the verifier.
	 */
#pragma clang loop unroll(full)
	for (i = 0; i < IPV6_MAX_EXTENSIONS; i++) {
		pkt->l4_offset = offset;
		switch (pkt->protocol) {
		case PROTOCOL_FRAGMENT:
			if (fragmented)
				return -DROP_INVALID_IPV6_EXTENSION;
			fragmented = true;
			verdict = parse_ipv6_fragment(skb, pkt, offset);
			if (verdict || pkt->fragment == FRAGMENT_LATER)
				return verdict;
			offset += sizeof(struct ipv6_fragment);
			break;
		case PROTOCOL_HOPOPTS:
		case PROTOCOL_ROUTING:
		case PROTOCOL_DSTOPTS:
		case PROTOCOL_AH:
			if (bpf_skb_load_bytes(skb, offset, &header, sizeof(header)))
				return -DROP_INVALID_PACKET;
			offset += pkt->protocol == PROTOCOL_AH
					  ? (header.length + 2) * IPV4_WORD
					  : (header.length + 1) * IPV6_EXTENSION_UNIT;
			pkt->protocol = header.next;
			break;
		default:
			return parse_l4(skb, pkt);
		}
	}
	return -DROP_INVALID_IPV6_EXTENSION;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *pkt, __u32 l3)
{
	struct ipv6hdr *ip = linear(skb, l3 + sizeof(*ip));

	if (!ip)
		return -DROP_INVALID_PACKET;
	ip = (void *)ip + l3;
	if (ip->version != 6 || bpf_ntohs(ip->payload_len) + sizeof(*ip) > skb->len - l3)
		return -DROP_INVALID_PACKET;
	__builtin_memcpy(&pkt->saddr, &ip->saddr, sizeof(pkt->saddr));
	__builtin_memcpy(&pkt->daddr, &ip->daddr, sizeof(pkt->daddr));
	if (addr_is_mapped(&pkt->saddr) || addr_is_mapped(&pkt->daddr))
		return -DROP_MAPPED_ADDRESS;
	pkt->family = AF_INET6;
	pkt->ttl = ip->hop_limit;
	pkt->dont_fragment = 1;
	pkt->protocol = ip->nexthdr;
	pkt->l3_offset = l3;
	pkt->l4_offset = l3 + sizeof(*ip);
	return parse_ipv6_extensions(skb, pkt);
}

/* Fills the packet. TC_ACT_OK also for ARP, which has no family. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *pkt)
{
	struct ethhdr *eth = linear(skb, sizeof(*eth));

	if (!eth)
		return -DROP_INVALID_PACKET;
	if (skb->vlan_present)
		return -DROP_VLAN_FILTERED;
	copy_mac(pkt->smac, eth->h_source);
	copy_mac(pkt->dmac, eth->h_dest);
	pkt->ethertype = eth->h_proto;
	switch (pkt->ethertype) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(skb, pkt, ETH_HLEN);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(skb, pkt, ETH_HLEN);
	case bpf_htons(ETH_P_ARP):
		return TC_ACT_OK;
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return -DROP_VLAN_FILTERED;
	}
	return -DROP_UNSUPPORTED_L3_PROTOCOL;
}

/* The same on a device whose packets have no MAC addresses. */
static __always_inline int parse_bare(struct __sk_buff *skb, struct packet *pkt)
{
	pkt->ethertype = skb->protocol;
	switch (pkt->ethertype) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(skb, pkt, 0);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(skb, pkt, 0);
	}
	return -DROP_UNSUPPORTED_L3_PROTOCOL;
}

static __always_inline void write_macs(struct ethhdr *eth, const __u8 *smac, const __u8 *dmac)
{
	copy_mac(eth->h_source, smac);
	copy_mac(eth->h_dest, dmac);
}

/* Takes one hop off a header, and off its checksum. */
static __always_inline void take_hop(struct iphdr *ip)
{
	__u32 sum = ip->check + bpf_htons(IPV4_TTL_STEP);

	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;
}

/* Takes one hop off and writes both MACs: what a router does. The caller has checked that a hop is
 * left.
 */
static __always_inline int route_hop(struct __sk_buff *skb, const struct packet *pkt,
				     const __u8 *smac, const __u8 *dmac)
{
	struct ipv6hdr *ip6;
	struct ethhdr *eth;

	if (pkt->family == AF_INET) {
		eth = linear(skb, ETH_HLEN + sizeof(struct iphdr));
		if (!eth)
			return -DROP_WRITE_ERROR;
		take_hop((void *)eth + ETH_HLEN);
	} else {
		eth = linear(skb, ETH_HLEN + sizeof(*ip6));
		if (!eth)
			return -DROP_WRITE_ERROR;
		ip6 = (void *)eth + ETH_HLEN;
		ip6->hop_limit--;
	}
	write_macs(eth, smac, dmac);
	return TC_ACT_OK;
}

#endif

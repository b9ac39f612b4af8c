/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* ARP and neighbour discovery. Of what a pod asks the gateway is answered for, the rest is noise or
 * forbidden.
 */
#ifndef CILIATE_NEIGHBOR_H
#define CILIATE_NEIGHBOR_H

#include "endpoint.h"
#include "parse.h"

enum arp_number {
	ARP_ETHERNET = 1,
	ARP_REQUEST = 1,
	ARP_REPLY = 2,
	ARP_IPV4_LENGTH = 4,
};

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 smac[ETH_ALEN];
	__u8 saddr[4];
	__u8 tmac[ETH_ALEN];
	__u8 taddr[4];
};
_Static_assert(sizeof(struct arp_ipv4) == 28, "arp_ipv4");

enum icmpv6_type {
	ICMPV6_TOO_BIG = 2,
	ICMPV6_FIRST_INFORMATIONAL = 128,
	ICMPV6_MLD_QUERY = 130,
	ICMPV6_MLD_REPORT = 131,
	ICMPV6_MLD_DONE = 132,
	ICMPV6_ROUTER_SOLICITATION = 133,
	ICMPV6_ROUTER_ADVERTISEMENT = 134,
	ICMPV6_NEIGHBOR_SOLICITATION = 135,
	ICMPV6_NEIGHBOR_ADVERTISEMENT = 136,
	ICMPV6_REDIRECT = 137,
	ICMPV6_MLD2_REPORT = 143,
};

enum neighbor_number {
	NEIGHBOR_HOP_LIMIT = 255,
	NEIGHBOR_ROUTER = 0x80, /* flags */
	NEIGHBOR_SOLICITED = 0x40,
	NEIGHBOR_OVERRIDE = 0x20,
	NEIGHBOR_TARGET_MAC = 2, /* option */
};

/* An advertisement with the one option it needs; a solicitation begins as it does. */
struct neighbor {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__u8 flags;
	__u8 reserved[3];
	struct addr target;
	__u8 option;
	__u8 option_length; /* in 8 bytes */
	__u8 mac[ETH_ALEN];
};
_Static_assert(sizeof(struct neighbor) == 32, "neighbor");

/* Sends the packet back to the pod it came from. It would be taken for a broadcast otherwise, as
 * the question was.
 */
static __always_inline int send_back(struct __sk_buff *skb)
{
	skb->mark = 0;
	if (bpf_skb_change_type(skb, PACKET_HOST))
		return -DROP_WRITE_ERROR;
	return bpf_redirect_peer(skb->ifindex, 0);
}

static __always_inline __sum16 fold(__s64 sum)
{
	__u64 s = (__u32)sum;

	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return ~s;
}

static __always_inline bool arp_is_ipv4(const struct arp_ipv4 *arp)
{
	return arp->hardware == bpf_htons(ARP_ETHERNET) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->hardware_length == ETH_ALEN && arp->protocol_length == ARP_IPV4_LENGTH;
}

static __always_inline bool arp_is_request(const struct arp_ipv4 *arp)
{
	return arp_is_ipv4(arp) && arp->operation == bpf_htons(ARP_REQUEST);
}

/* Makes a request its own answer: the address asked for is at mac. */
static __always_inline void answer_request(struct ethhdr *eth, struct arp_ipv4 *arp,
					   const __u8 *mac)
{
	__be32 saddr, taddr;

	__builtin_memcpy(&saddr, arp->saddr, sizeof(saddr));
	__builtin_memcpy(&taddr, arp->taddr, sizeof(taddr));
	arp->operation = bpf_htons(ARP_REPLY);
	copy_mac(arp->tmac, arp->smac);
	__builtin_memcpy(arp->taddr, &saddr, sizeof(saddr));
	copy_mac(arp->smac, mac);
	__builtin_memcpy(arp->saddr, &taddr, sizeof(taddr));
	write_macs(eth, mac, arp->tmac);
}

/* Answers a request for the gateway's MAC in place. */
static __always_inline int answer_arp(struct __sk_buff *skb, const struct endpoint_if *ep)
{
	struct ethhdr *eth = linear(skb, ETH_HLEN + sizeof(struct arp_ipv4));
	__be32 saddr, taddr;
	struct arp_ipv4 *arp;

	if (!eth)
		return -DROP_INVALID_PACKET;
	arp = (void *)eth + ETH_HLEN;
	if (!arp_is_ipv4(arp))
		return -DROP_INVALID_PACKET;
	if (!mac_equal(arp->smac, ep->mac))
		return -DROP_INVALID_SOURCE_MAC;
	__builtin_memcpy(&saddr, arp->saddr, sizeof(saddr));
	__builtin_memcpy(&taddr, arp->taddr, sizeof(taddr));
	if (!arp_is_request(arp) || saddr == taddr || !saddr)
		return -DROP_NOISE;
	if (!addr_is_mapped(&ep->addr4) || saddr != mapped_ipv4(&ep->addr4))
		return -DROP_INVALID_SOURCE_IP;
	if (taddr != mapped_ipv4(&ep->gateway4))
		return -DROP_NEIGHBOR;
	answer_request(eth, arp, ep->host_mac);
	return send_back(skb);
}

/* Who is where, and to whom it is said. */
struct advertisement {
	const struct addr *target;
	const struct addr *to;
	const __u8 *mac; /* of the target */
	const __u8 *dmac; /* of who is told */
	__u8 flags;
};

/* Makes a solicitation an advertisement. */
static __always_inline int write_advertisement(struct __sk_buff *skb,
					       const struct advertisement *say)
{
	__be32 pseudo[2] = { bpf_htonl(sizeof(struct neighbor)), bpf_htonl(PROTOCOL_ICMPV6) };
	__u32 length = ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct neighbor);
	struct neighbor *neighbor;
	struct ipv6hdr *ip;
	struct ethhdr *eth;
	__s64 sum;

	if (bpf_skb_change_tail(skb, length, 0))
		return -DROP_WRITE_ERROR;
	eth = linear(skb, length);
	if (!eth)
		return -DROP_WRITE_ERROR;
	ip = (void *)eth + ETH_HLEN;
	neighbor = (void *)ip + sizeof(*ip);
	write_macs(eth, say->mac, say->dmac);
	ip->payload_len = bpf_htons(sizeof(*neighbor));
	__builtin_memcpy(&ip->saddr, say->target, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, say->to, sizeof(ip->daddr));
	__builtin_memset(neighbor, 0, sizeof(*neighbor));
	neighbor->type = ICMPV6_NEIGHBOR_ADVERTISEMENT;
	neighbor->flags = say->flags;
	__builtin_memcpy(&neighbor->target, say->target, sizeof(neighbor->target));
	neighbor->option = NEIGHBOR_TARGET_MAC;
	neighbor->option_length = 1;
	copy_mac(neighbor->mac, say->mac);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, 2 * sizeof(struct addr), 0);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)neighbor, sizeof(*neighbor), sum);
	neighbor->checksum = fold(sum);
	return TC_ACT_OK;
}

/* Tells the pod where its gateway is. */
static __always_inline int advertise(struct __sk_buff *skb, const struct packet *pkt,
				     const struct endpoint_if *ep)
{
	struct advertisement say = {
		.target = &ep->gateway6,
		.to = &pkt->saddr,
		.mac = ep->host_mac,
		.dmac = ep->mac,
		.flags = NEIGHBOR_ROUTER | NEIGHBOR_SOLICITED | NEIGHBOR_OVERRIDE,
	};
	int verdict = write_advertisement(skb, &say);

	return verdict ? verdict : send_back(skb);
}

/* The solicitation in a packet that is one by its type; NULL when it is not well formed. Extension
 * headers have no place there, and only a neighbour's packet comes with all its hops.
 */
static __always_inline struct neighbor *solicitation(struct __sk_buff *skb,
						     const struct packet *pkt)
{
	__u32 length = ETH_HLEN + sizeof(struct ipv6hdr) + offsetof(struct neighbor, option);
	struct neighbor *neighbor;
	void *data;

	if (pkt->l4_offset != ETH_HLEN + sizeof(struct ipv6hdr) || pkt->ttl != NEIGHBOR_HOP_LIMIT)
		return NULL;
	data = linear(skb, length);
	if (!data)
		return NULL;
	neighbor = data + ETH_HLEN + sizeof(struct ipv6hdr);
	return neighbor->code ? NULL : neighbor;
}

static __always_inline int answer_solicitation(struct __sk_buff *skb, const struct packet *pkt,
					       const struct endpoint_if *ep)
{
	struct neighbor *neighbor = solicitation(skb, pkt);

	if (!neighbor)
		return -DROP_INVALID_PACKET;
	/* A pod asks whether somebody else has its address. */
	if (addr_is_zero(&pkt->saddr))
		return -DROP_NOISE;
	if (!addr_is_link_local(&pkt->saddr) && !endpoint_has(ep, &pkt->saddr))
		return -DROP_INVALID_SOURCE_IP;
	if (addr_is_zero(&ep->gateway6) || !addr_equal(&neighbor->target, &ep->gateway6))
		return -DROP_NEIGHBOR;
	return advertise(skb, pkt, ep);
}

/* ICMPv6 that is between neighbours alone. TC_ACT_OK: it was something else. */
static __always_inline int neighbor_discovery(struct __sk_buff *skb, const struct packet *pkt,
					      const struct endpoint_if *ep)
{
	if (pkt->family != AF_INET6 || pkt->protocol != PROTOCOL_ICMPV6 ||
	    pkt->fragment == FRAGMENT_LATER)
		return TC_ACT_OK;
	switch (pkt->icmp_type) {
	case ICMPV6_NEIGHBOR_SOLICITATION:
		return answer_solicitation(skb, pkt, ep);
	case ICMPV6_ROUTER_ADVERTISEMENT:
	case ICMPV6_REDIRECT:
		return -DROP_FORBIDDEN_ICMPV6;
	case ICMPV6_MLD_QUERY:
	case ICMPV6_MLD_REPORT:
	case ICMPV6_MLD_DONE:
	case ICMPV6_MLD2_REPORT:
	case ICMPV6_ROUTER_SOLICITATION:
	case ICMPV6_NEIGHBOR_ADVERTISEMENT:
		return -DROP_NOISE;
	}
	return TC_ACT_OK;
}

/* What the host's kernel says to a device unasked, and a pod or a node has no use for. */
static __always_inline int drop_noise(const struct packet *pkt)
{
	if (!pkt->family)
		return -DROP_NOISE;
	if (pkt->family == AF_INET6 && pkt->protocol == PROTOCOL_ICMPV6 &&
	    pkt->fragment != FRAGMENT_LATER &&
	    ((pkt->icmp_type >= ICMPV6_MLD_QUERY && pkt->icmp_type <= ICMPV6_REDIRECT) ||
	     pkt->icmp_type == ICMPV6_MLD2_REPORT))
		return -DROP_NOISE;
	return is_multicast(pkt) ? -DROP_MULTICAST : TC_ACT_OK;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Who asks on a card's link for the address of a Service that this node announces gets the card's
 * MAC. Whatever else is asked for is the stack's to answer.
 */
#ifndef CILIATE_ANNOUNCE_H
#define CILIATE_ANNOUNCE_H

#include "addr.h"
#include "maps.h"
#include "neighbor.h"
#include "parse.h"

/* Whether the packet may ask for somebody's MAC. */
static __always_inline bool asks_neighbor(struct __sk_buff *skb)
{
	__u8 protocol, type;

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return true;
	if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &protocol,
			       sizeof(protocol)) ||
	    protocol != PROTOCOL_ICMPV6)
		return false;
	return !bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr), &type, sizeof(type)) &&
	       type == ICMPV6_NEIGHBOR_SOLICITATION;
}

/* What the node says of an address there, NULL when it is not this node that announces it. */
static __always_inline const struct announcement *
announcement_of(const struct announcement_key *key)
{
	const struct announcement *found = bpf_map_lookup_elem(&announcements, key);

	return found && bpf_ktime_get_boot_ns() < found->until ? found : NULL;
}

static __always_inline int announce_arp(struct __sk_buff *skb)
{
	struct ethhdr *eth = linear(skb, ETH_HLEN + sizeof(struct arp_ipv4));
	struct announcement_key key = { .ifindex = skb->ifindex };
	const struct announcement *found;
	struct arp_ipv4 *arp;
	__be32 taddr;

	if (!eth)
		return TC_ACT_OK;
	arp = (void *)eth + ETH_HLEN;
	/* Who says that the address is his asks nothing. */
	if (!arp_is_request(arp) || !__builtin_memcmp(arp->saddr, arp->taddr, sizeof(taddr)))
		return TC_ACT_OK;
	__builtin_memcpy(&taddr, arp->taddr, sizeof(taddr));
	map_ipv4(&key.addr, taddr);
	found = announcement_of(&key);
	if (!found)
		return TC_ACT_OK;
	answer_request(eth, arp, found->mac);
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int announce_nd(struct __sk_buff *skb, struct packet *pkt)
{
	struct addr all_nodes = { .b = { 0xff, 0x02, [15] = 1 } };
	__u8 all_nodes_mac[ETH_ALEN] = { 0x33, 0x33, 0, 0, 0, 1 };
	struct announcement_key key = { .ifindex = skb->ifindex };
	struct advertisement answer = { .flags = NEIGHBOR_SOLICITED | NEIGHBOR_OVERRIDE };
	const struct announcement *found;
	struct neighbor *neighbor;

	if (parse(skb, pkt))
		return TC_ACT_OK;
	neighbor = solicitation(skb, pkt);
	if (!neighbor)
		return TC_ACT_OK;
	__builtin_memcpy(&key.addr, &neighbor->target, sizeof(key.addr));
	found = announcement_of(&key);
	if (!found)
		return TC_ACT_OK;
	answer.target = &key.addr;
	answer.mac = found->mac;
	answer.to = &pkt->saddr;
	answer.dmac = pkt->smac;
	/* Another node wants the address for itself: all shall know that it is taken. */
	if (addr_is_zero(&pkt->saddr)) {
		answer.to = &all_nodes;
		answer.dmac = all_nodes_mac;
		answer.flags = NEIGHBOR_OVERRIDE;
	}
	if (write_advertisement(skb, &answer))
		return -DROP_WRITE_ERROR;
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int announce(struct __sk_buff *skb, struct packet *pkt)
{
	if (skb->pkt_type == PACKET_OTHERHOST)
		return TC_ACT_OK;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return announce_arp(skb);
	return announce_nd(skb, pkt);
}

#endif

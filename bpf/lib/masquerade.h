/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Whose packets take the node's address when they leave by a card, and how the answers come back. */
#ifndef CILIATE_MASQUERADE_H
#define CILIATE_MASQUERADE_H

#include "config.h"
#include "fragment.h"
#include "identity.h"
#include "ipcache.h"
#include "nat.h"

/* The tunnel's packets are by far the most, and nothing is to be done with them at a card.
 * Nothing is pulled for this, as it is asked of every packet.
 */
static __always_inline bool is_tunnel_packet(struct __sk_buff *skb, __u32 l3)
{
	const struct udphdr *udp;
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		ip = peek(skb, l3, sizeof(*ip) + sizeof(*udp));
		if (!ip || *(__u8 *)ip != IPV4_VERSION_IHL || ip->protocol != PROTOCOL_UDP ||
		    (ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)))
			return false;
		udp = (void *)ip + sizeof(*ip);
		return udp->dest == bpf_htons(tunnel_port);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		ip6 = peek(skb, l3, sizeof(*ip6) + sizeof(*udp));
		if (!ip6 || ip6->nexthdr != PROTOCOL_UDP)
			return false;
		udp = (void *)ip6 + sizeof(*ip6);
		return udp->dest == bpf_htons(tunnel_port);
	}
	return false;
}

/* Whether an echo request or an ICMP error leaves. */
static __always_inline bool is_leaving_icmp(struct __sk_buff *skb, __u32 l3)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		ip = peek(skb, l3, sizeof(*ip));
		return ip && ip->protocol == PROTOCOL_ICMP;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		ip6 = peek(skb, l3, sizeof(*ip6) + sizeof(__u8));
		return ip6 && ip6->nexthdr == PROTOCOL_ICMPV6 &&
		       *(__u8 *)(ip6 + 1) <= ICMPV6_ECHO_REQUEST;
	}
	return false;
}

/* What the node itself sends, and what it puts into the tunnel, has no mark, whereas from_pod marks
 * all that it hands to the stack. The node's echo requests are looked at all the same: ids are as
 * scarce as ports, and no socket can be asked for them. So are its ICMP errors: they speak of
 * packets as the stack saw them.
 */
static __always_inline bool is_nodes_own(struct __sk_buff *skb, __u32 l3)
{
	return !skb->mark && !is_leaving_icmp(skb, l3);
}

/* Pods are reached by their own addresses, and so are nodes where nothing is tunnelled. */
static __always_inline bool is_inside(const struct addr *a)
{
	const struct ipcache_entry *to = ipcache_lookup(a);

	if (!to)
		return false;
	return identity_is_pod(to->identity) || (native && identity_is_node(to->identity));
}

/* The address of the node that a pod's packet gets on this device; NULL: it keeps its own. */
static __always_inline const struct addr *masquerade_source(const struct __sk_buff *skb,
							    const struct packet *pkt)
{
	__u32 ifindex = skb->ifindex;
	const struct card *card = bpf_map_lookup_elem(&cards, &ifindex);

	if (!card || !card->masquerades || is_inside(&pkt->daddr))
		return NULL;
	return pkt->family == AF_INET ? &card->addr4 : &card->addr6;
}

/* A new connection of a pod (generation), or an echo of the node's own (0). */
static __always_inline int open_masqueraded(struct __sk_buff *skb, struct packet *pkt,
					    const struct addr *source, __u32 generation)
{
	struct translation *w = translation_at_hand();
	int verdict;

	if (!w)
		return -DROP_NAT_NO_MAPPING;
	tuple_of(&w->from, pkt);
	w->becomes = w->from;
	w->becomes.saddr = *source;
	w->generation = generation;
	w->source_is_node = 1;
	w->dsr = 0;
	verdict = connection_open(skb);
	return verdict ? verdict : rewrite(skb, pkt, &w->becomes);
}

/* The node's own: an answer of a process that is a backend, or a ping, which is given another id
 * where a pod has its own already.
 */
static __always_inline int translate_own(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict = is_icmp_error(pkt) ? translate_error(skb) : translate_known(skb);

	if (verdict == NAT_FOREIGN && pkt->fragment != FRAGMENT_LATER &&
	    is_echo_request(pkt->protocol, pkt->icmp_type))
		verdict = open_masqueraded(skb, pkt, &pkt->saddr, 0);
	/* The node's packets do not depend on our tables. */
	return verdict == -DROP_WRITE_ERROR ? verdict : TC_ACT_OK;
}

static __always_inline int masquerade(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint *ep = endpoint_of_address(&pkt->saddr);
	const struct ipcache_entry *from;
	const struct addr *source;
	bool error = is_icmp_error(pkt);
	int verdict;

	verdict = parse_echo(skb, pkt);
	if (verdict)
		return verdict;
	if (!ep) {
		from = ipcache_lookup(&pkt->saddr);
		if (from && identity_is_pod(from->identity) && !ipcache_is_remote(from))
			return -DROP_ENDPOINT_NOT_READY;
		return translate_own(skb, pkt);
	}
	verdict = fragment_ports(pkt);
	if (verdict)
		return verdict;
	verdict = error ? translate_error(skb) : translate_known(skb);
	if (verdict != NAT_FOREIGN)
		return verdict;
	source = masquerade_source(skb, pkt);
	if (!source)
		return TC_ACT_OK;
	/* An error about nothing that we know would show the pod's address. */
	if (error || addr_is_zero(source))
		return -DROP_NAT_NO_MAPPING;
	return open_masqueraded(skb, pkt, source, ep->generation);
}

/* The ports of a fragment. Only those of translated datagrams are remembered, and a fragment of
 * which nothing is known is the stack's.
 */
static __always_inline bool known_fragment(struct packet *pkt, bool for_service)
{
	struct tuple t;

	if (pkt->fragment == FRAGMENT_NONE)
		return true;
	tuple_of(&t, pkt);
	if (pkt->fragment == FRAGMENT_FIRST && !for_service && !connection_lookup(&t))
		return false;
	return fragment_ports(pkt) == TC_ACT_OK;
}

/* Somebody who is no pod reaches a pod by the pod's own address (the API server, where it has routes
 * to the pods; a process of another node). The answers keep that address, which only an entry of the conversation tells from
 * what the pod asks itself. One that cannot be made costs the answers, not this packet.
 */
static __always_inline int admit(struct __sk_buff *skb, struct packet *pkt, __u32 generation)
{
	struct translation *w = translation_at_hand();
	int verdict;

	if (!w || is_inside(&pkt->saddr) || is_icmp_error(pkt) || parse_echo(skb, pkt) ||
	    !known_fragment(pkt, true))
		return TC_ACT_OK;
	verdict = translate_known(skb);
	if (verdict != NAT_FOREIGN)
		return verdict;
	tuple_of(&w->from, pkt);
	w->becomes = w->from;
	w->generation = generation;
	w->source_is_node = w->dsr = 0;
	connection_open(skb);
	return TC_ACT_OK;
}

/* Back to who sent under the node's address. */
static __always_inline int unmasquerade(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict;

	if (parse_echo(skb, pkt) || !known_fragment(pkt, false))
		return TC_ACT_OK;
	verdict = is_icmp_error(pkt) ? translate_error(skb) : translate_known(skb);
	return verdict == NAT_FOREIGN ? TC_ACT_OK : verdict;
}

#endif

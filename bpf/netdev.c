/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The node's cards: from_netdev is their ingress, to_netdev their egress; from_bare and to_bare are
 * the same for devices without MAC addresses. Here a pod's packet for the world takes the node's
 * address, and the answer finds the pod again. Others may sit on the cards too, so what we do not
 * judge goes on to the next program.
 */
#include "lib/announce.h"
#include "lib/config.h"
#include "lib/dsr.h"
#include "lib/endpoint.h"
#include "lib/event.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/ipcache.h"
#include "lib/maps.h"
#include "lib/masquerade.h"
#include "lib/nat.h"
#include "lib/nodeport.h"
#include "lib/parse.h"
#include "lib/redirect.h"

/* The action that lets others have their say. */
static __always_inline int next(int action)
{
	return action == TC_ACT_OK ? TC_ACT_UNSPEC : action;
}

/* Into a pod from who is none. What the stack would refuse it is given to refuse. */
static __always_inline int let_in(struct __sk_buff *skb, struct packet *pkt,
				  const struct endpoint *local)
{
	const struct ipcache_entry *from = ipcache_lookup(&pkt->saddr);
	int verdict;

	if (!is_direct(skb->ifindex) || pkt->ttl <= LAST_HOP || !from ||
	    identity_is_pod(from->identity) || from->identity == IDENTITY_HOST)
		return TC_ACT_OK;
	verdict = fragment_ports(pkt);
	if (verdict)
		return verdict;
	pkt->identity = from->identity;
	return deliver(skb, pkt, local);
}

/* From who is no pod to a pod's own address: by himself, or led there by a node that he asked. */
static __always_inline int arrive_open(struct __sk_buff *skb, struct packet *pkt,
				       const struct endpoint *local)
{
	int verdict = native && !stack_forwarding ? receive_led(skb, pkt) : NAT_FOREIGN;

	if (verdict == NAT_FOREIGN)
		verdict = admit(skb, pkt, local->generation);
	return verdict ? verdict : let_in(skb, pkt, local);
}

/* From a pod of another node to one of ours, or from outside. */
static __always_inline int arrive_native(struct __sk_buff *skb, struct packet *pkt,
					 const struct endpoint *local)
{
	const struct ipcache_entry *from = ipcache_lookup(&pkt->saddr);
	int verdict;

	if (!from || !identity_is_pod(from->identity))
		return arrive_open(skb, pkt, local);
	if (!ipcache_is_remote(from))
		return -DROP_UNKNOWN_SENDER;
	if (from->identity == IDENTITY_UNKNOWN)
		return -DROP_UNKNOWN_POD;
	pkt->identity = from->identity;
	if (stack_forwarding || pkt->ttl <= LAST_HOP)
		return TC_ACT_OK;
	verdict = fragment_ports(pkt);
	if (verdict)
		return verdict;
	return deliver(skb, pkt, local);
}

/* Answers to pods and to clients of Services, and their questions. */
static __always_inline int arrive_translated(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint *local;
	int verdict;

	if (parse_echo(skb, pkt) ||
	    !known_fragment(pkt, !stack_forwarding && is_for_service(pkt, SCOPE_WORLD)))
		return TC_ACT_OK;
	verdict = is_icmp_error(pkt) ? translate_error(skb) : translate_known(skb);
	if (verdict == NAT_FOREIGN && !stack_forwarding)
		verdict = serve(skb, SCOPE_WORLD);
	if (verdict == -DROP_REFUSED)
		return refuse(skb, pkt, &pkt->daddr);
	if (verdict)
		return verdict == NAT_FOREIGN ? TC_ACT_OK : verdict;
	local = endpoint_of_address(&pkt->daddr);
	if (local && !is_own_address(&pkt->saddr))
		return let_in(skb, pkt, local);
	return is_dsr() ? lead_dsr(skb, pkt) : route_served(skb);
}

/* A question about an address that we announce, a packet from a pod of another node to one of ours, or
 * something translated; all else is the stack's.
 */
static __always_inline int arrive(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint *local;

	if (asks_neighbor(skb))
		return announce(skb, pkt);
	if (skb->pkt_type != PACKET_HOST || parse(skb, pkt) || !pkt->family)
		return TC_ACT_OK;
	local = endpoint_of_address(&pkt->daddr);
	if (local)
		return native ? arrive_native(skb, pkt, local) : arrive_open(skb, pkt, local);
	return arrive_translated(skb, pkt);
}

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct packet *pkt;

	if (!native && is_tunnel_packet(skb, ETH_HLEN))
		return TC_ACT_UNSPEC;
	pkt = begin(skb);
	if (!pkt)
		return TC_ACT_SHOT;
	return next(finish(pkt, arrive(skb, pkt), DIRECTION_INGRESS));
}

static __always_inline int arrive_bare(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint *local = endpoint_of_address(&pkt->daddr);

	return local ? admit(skb, pkt, local->generation) : unmasquerade(skb, pkt);
}

SEC("tc")
int from_bare(struct __sk_buff *skb)
{
	struct packet *pkt;

	if (is_tunnel_packet(skb, 0))
		return TC_ACT_UNSPEC;
	pkt = begin(skb);
	if (!pkt)
		return TC_ACT_SHOT;
	if (parse_bare(skb, pkt))
		return TC_ACT_UNSPEC;
	return next(finish(pkt, arrive_bare(skb, pkt), DIRECTION_INGRESS));
}

/* What a pod sent may have become a packet for a tunnel port on its way through the stack (a
 * Service of kube-proxy). Our mark ends here.
 */
static __always_inline int leave(struct __sk_buff *skb, struct packet *pkt, int parsed)
{
	bool from_pod = is_marked(skb, MARK_IDENTITY);

	if (from_pod)
		clear_mark(skb);
	if (parsed || !pkt->family)
		return TC_ACT_OK;
	if (!native && from_pod && pkt->protocol == PROTOCOL_UDP &&
	    pkt->dport == bpf_htons(tunnel_port))
		return -DROP_ENCAP_PROHIBITED;
	return masquerade(skb, pkt);
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	struct packet *pkt;

	if (is_marked(skb, MARK_KEYED)) {
		clear_mark(skb);
		return TC_ACT_UNSPEC;
	}
	if (is_nodes_own(skb, ETH_HLEN) && (!host_is_serving() || is_tunnel_packet(skb, ETH_HLEN)))
		return TC_ACT_UNSPEC;
	pkt = begin(skb);
	if (!pkt)
		return TC_ACT_SHOT;
	return next(finish(pkt, leave(skb, pkt, parse(skb, pkt)), DIRECTION_EGRESS));
}

SEC("tc")
int to_bare(struct __sk_buff *skb)
{
	struct packet *pkt;

	if (is_marked(skb, MARK_KEYED)) {
		clear_mark(skb);
		return TC_ACT_UNSPEC;
	}
	if (is_nodes_own(skb, 0))
		return TC_ACT_UNSPEC;
	pkt = begin(skb);
	if (!pkt)
		return TC_ACT_SHOT;
	return next(finish(pkt, leave(skb, pkt, parse_bare(skb, pkt)), DIRECTION_EGRESS));
}

char _license[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The node's cards: from_netdev is their ingress (native routing only), to_netdev their egress.
 * Others may sit on them too, so what we do not judge goes on to the next program.
 */
#include "lib/config.h"
#include "lib/endpoint.h"
#include "lib/event.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/ipcache.h"
#include "lib/maps.h"
#include "lib/parse.h"
#include "lib/redirect.h"

/* From a pod of another node to one of ours; all else is the stack's. */
static __always_inline int arrive(struct __sk_buff *skb, struct packet *pkt)
{
	const struct ipcache_entry *from;
	const struct endpoint *local;
	int verdict;

	if (skb->pkt_type != PACKET_HOST || parse(skb, pkt) || !pkt->family)
		return TC_ACT_OK;
	local = endpoint_of_address(&pkt->daddr);
	if (!local)
		return TC_ACT_OK;
	from = ipcache_lookup(&pkt->saddr);
	if (!from || !identity_is_pod(from->identity))
		return TC_ACT_OK;
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

/* The action that lets others have their say. */
static __always_inline int next(int action)
{
	return action == TC_ACT_OK ? TC_ACT_UNSPEC : action;
}

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct packet *pkt = begin(skb);

	if (!pkt)
		return TC_ACT_SHOT;
	return next(finish(pkt, arrive(skb, pkt), DIRECTION_INGRESS));
}

/* What a pod sent may have become a packet for a tunnel port on its way through the stack (a
 * Service of kube-proxy). Our mark ends here.
 */
static __always_inline int leave(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict = parse(skb, pkt);

	clear_mark(skb);
	if (!native && !verdict && pkt->family && pkt->protocol == PROTOCOL_UDP &&
	    pkt->dport == bpf_htons(tunnel_port))
		return -DROP_ENCAP_PROHIBITED;
	return TC_ACT_OK;
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	struct packet *pkt;

	if (!is_marked(skb, MARK_IDENTITY))
		return TC_ACT_UNSPEC;
	pkt = begin(skb);
	if (!pkt)
		return TC_ACT_SHOT;
	return next(finish(pkt, leave(skb, pkt), DIRECTION_EGRESS));
}

char _license[] SEC("license") = "Dual BSD/GPL";

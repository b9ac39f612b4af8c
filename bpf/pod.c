/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The host-side device of a pod: from_pod is its ingress, to_pod its egress. */
#include "lib/config.h"
#include "lib/endpoint.h"
#include "lib/event.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/ipcache.h"
#include "lib/maps.h"
#include "lib/neighbor.h"
#include "lib/nodeport.h"
#include "lib/option.h"
#include "lib/parse.h"
#include "lib/redirect.h"

/* A pod that reaches a tunnel port, its packet masqueraded as its node's, could name any identity
 * it likes. Nodes have addresses that the cluster does not list, so nothing but a pod is a safe
 * destination.
 */
static __always_inline bool is_forged_tunnel(const struct packet *pkt)
{
	return !native && pkt->protocol == PROTOCOL_UDP && pkt->dport == bpf_htons(tunnel_port);
}

/* To what is no pod: a backend's answer to this node, a Service, this node, or the world. */
static __always_inline int route_outside(struct __sk_buff *skb, struct packet *pkt,
					 const struct endpoint_if *ep,
					 const struct ipcache_entry *to)
{
	int verdict = NAT_FOREIGN;

	if (is_forged_tunnel(pkt))
		return -DROP_ENCAP_PROHIBITED;
	if (to->identity == IDENTITY_HOST && !stack_forwarding)
		verdict = return_served(skb, pkt);
	if (verdict == NAT_FOREIGN)
		verdict = serve_pod(skb, pkt);
	if (verdict == -DROP_REFUSED)
		return refuse(skb, pkt, gateway_of(pkt, ep));
	if (verdict != NAT_FOREIGN)
		return verdict;
	return to->identity == IDENTITY_HOST ? to_stack(skb, pkt) : route_out(skb, pkt);
}

/* Where a packet goes that a pod may send. */
static __always_inline int route(struct __sk_buff *skb, struct packet *pkt,
				 const struct endpoint_if *ep)
{
	const struct endpoint *local = endpoint_of_address(&pkt->daddr);
	const struct ipcache_entry *to;

	if (local) {
		if (stack_forwarding || pkt->ttl <= LAST_HOP)
			return to_stack(skb, pkt);
		return deliver(skb, pkt, local);
	}
	to = ipcache_lookup(&pkt->daddr);
	if (!to)
		return -DROP_UNKNOWN_TARGET;
	if (!identity_is_pod(to->identity))
		return route_outside(skb, pkt, ep, to);
	if (!ipcache_is_remote(to))
		return -DROP_STALE_OR_UNROUTABLE_IP;
	return route_remote(skb, pkt, ep, to);
}

static __always_inline int send(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint_if *ep = endpoint_of_device(skb->ifindex);
	int verdict;

	if (!ep)
		return -DROP_ENDPOINT_NOT_READY;
	pkt->from_pod = true;
	pkt->identity = ep->identity;
	verdict = parse(skb, pkt);
	if (verdict)
		return verdict;
	if (!mac_equal(pkt->smac, ep->mac))
		return -DROP_INVALID_SOURCE_MAC;
	if (!pkt->family)
		return answer_arp(skb, ep);
	verdict = neighbor_discovery(skb, pkt, ep);
	if (verdict)
		return verdict;
	verdict = check_sender(pkt, ep);
	if (verdict)
		return verdict;
	if (native && has_option(skb, pkt))
		return -DROP_SERVICE_OPTION;
	verdict = fragment_ports(pkt);
	if (verdict)
		return verdict;
	return route(skb, pkt, ep);
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct packet *pkt = begin(skb);

	if (!pkt)
		return TC_ACT_SHOT;
	return finish(pkt, send(skb, pkt), DIRECTION_EGRESS);
}

/* Who sent what the host's stack delivers. A pod's packet that no program of ours has marked came
 * another way than pods of this routing mode do: its address is a lie.
 */
static __always_inline int find_source(struct __sk_buff *skb, struct packet *pkt)
{
	const struct ipcache_entry *from;

	if (is_marked(skb, MARK_IDENTITY)) {
		pkt->identity = marked_identity(skb);
		clear_mark(skb);
		return TC_ACT_OK;
	}
	from = ipcache_lookup(&pkt->saddr);
	if (!from)
		return -DROP_UNKNOWN_SENDER;
	pkt->identity = from->identity;
	if (!identity_is_pod(from->identity))
		return TC_ACT_OK;
	if (!native || !ipcache_is_remote(from))
		return -DROP_UNKNOWN_SENDER;
	return from->identity ? TC_ACT_OK : -DROP_UNKNOWN_POD;
}

/* The place where ingress is judged for what comes through the host's stack. */
static __always_inline int receive(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint_if *ep = endpoint_of_device(skb->ifindex);
	int verdict;

	if (!ep)
		return -DROP_ENDPOINT_NOT_READY;
	verdict = parse(skb, pkt);
	if (verdict)
		return verdict;
	verdict = drop_noise(pkt);
	if (verdict)
		return verdict;
	if (!endpoint_has(ep, &pkt->daddr))
		return -DROP_NO_LOCAL_POD;
	verdict = find_source(skb, pkt);
	if (verdict)
		return verdict;
	verdict = fragment_ports(pkt);
	if (verdict)
		return verdict;
	pkt->to_pod = true;
	/* A process of the node may be the backend that the pod was led to. */
	if (pkt->identity == IDENTITY_HOST && host_is_serving())
		verdict = is_icmp_error(pkt) ? translate_error(skb) : translate_known(skb);
	return verdict == NAT_FOREIGN ? TC_ACT_OK : verdict;
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct packet *pkt = begin(skb);

	if (!pkt)
		return TC_ACT_SHOT;
	return finish(pkt, receive(skb, pkt), DIRECTION_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";

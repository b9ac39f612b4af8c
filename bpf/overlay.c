/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The tunnel device: from_overlay is its ingress, to_overlay its egress. */
#include "lib/config.h"
#include "lib/encap.h"
#include "lib/endpoint.h"
#include "lib/event.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/ipcache.h"
#include "lib/maps.h"
#include "lib/masquerade.h"
#include "lib/neighbor.h"
#include "lib/nodeport.h"
#include "lib/parse.h"
#include "lib/redirect.h"

/* Who the tunnel says it is. A node calls itself host; to others it is a remote node. */
static __always_inline int carried_identity(struct packet *pkt, __u32 vni)
{
	if (vni == IDENTITY_HOST || vni == IDENTITY_REMOTE_NODE) {
		pkt->identity = IDENTITY_REMOTE_NODE;
		return TC_ACT_OK;
	}
	if (vni < IDENTITY_FIRST_ALLOCATED)
		return -DROP_INVALID_VNI;
	if (!identity_is_known(vni))
		return -DROP_INVALID_IDENTITY;
	pkt->identity = vni;
	return TC_ACT_OK;
}

/* The inner source must belong to the node that sent it: a pod of its ranges, or, for its own
 * packets, an address of its own.
 */
static __always_inline int check_tunnel_source(const struct packet *pkt, const struct addr *sender)
{
	const struct ipcache_entry *from = ipcache_lookup(&pkt->saddr);
	bool from_node = pkt->identity == IDENTITY_REMOTE_NODE;

	if (from && addr_equal(&from->node, sender) &&
	    (from_node ? identity_is_node(from->identity) : identity_is_pod(from->identity)))
		return TC_ACT_OK;
	from = ipcache_lookup(sender);
	return from && identity_is_node(from->identity) ? -DROP_TUNNEL_SOURCE
							: -DROP_UNKNOWN_SENDER;
}

/* To the stack from the tunnel: the inner frame names a MAC of the node it left. */
static __always_inline int up_to_stack(struct __sk_buff *skb, const struct packet *pkt)
{
	if (bpf_skb_change_type(skb, PACKET_HOST))
		return -DROP_WRITE_ERROR;
	return to_stack(skb, pkt);
}

static __always_inline int arrive(struct __sk_buff *skb, struct packet *pkt)
{
	const struct endpoint *local;
	struct addr sender = {};
	__u32 vni = 0;
	int verdict = get_tunnel_key(skb, &sender, &vni);

	if (verdict)
		return verdict;
	verdict = parse(skb, pkt);
	if (verdict)
		return verdict;
	verdict = drop_noise(pkt);
	if (verdict)
		return verdict;
	verdict = carried_identity(pkt, vni);
	if (verdict)
		return verdict;
	verdict = check_tunnel_source(pkt, &sender);
	if (verdict)
		return verdict;
	verdict = fragment_ports(pkt);
	if (verdict)
		return verdict;
	local = endpoint_of_address(&pkt->daddr);
	/* A process of a node may ask under the address of its card, and the answer leaves by one. */
	if (local && pkt->identity == IDENTITY_REMOTE_NODE) {
		verdict = admit(skb, pkt, local->generation);
		if (verdict)
			return verdict;
	}
	if (local && !stack_forwarding && pkt->ttl > LAST_HOP)
		return deliver(skb, pkt, local);
	if (local)
		return up_to_stack(skb, pkt);
	if (!is_own_address(&pkt->daddr))
		return -DROP_NO_LOCAL_POD;
	verdict = return_served(skb, pkt);
	return verdict == NAT_FOREIGN ? up_to_stack(skb, pkt) : verdict;
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct packet *pkt = begin(skb);

	if (!pkt)
		return TC_ACT_SHOT;
	return finish(pkt, arrive(skb, pkt), DIRECTION_INGRESS);
}

/* Who sends what the stack puts into the tunnel: a pod that from_pod has marked, or this node
 * itself.
 */
static __always_inline int find_vni(const struct __sk_buff *skb, const struct packet *pkt,
				    __u32 *vni)
{
	const struct ipcache_entry *from;

	*vni = IDENTITY_HOST;
	if (is_marked(skb, MARK_IDENTITY)) {
		*vni = marked_identity(skb);
		return TC_ACT_OK;
	}
	from = ipcache_lookup(&pkt->saddr);
	return from && from->identity == IDENTITY_HOST ? TC_ACT_OK : -DROP_INVALID_SOURCE_IP;
}

static __always_inline int leave(struct __sk_buff *skb, struct packet *pkt)
{
	const struct node_config *here = node_config();
	const struct ipcache_entry *to;
	int verdict = parse(skb, pkt);
	__u32 vni;

	if (verdict)
		return verdict;
	verdict = drop_noise(pkt);
	if (verdict)
		return verdict;
	verdict = find_vni(skb, pkt, &vni);
	if (verdict)
		return verdict;
	to = ipcache_lookup(&pkt->daddr);
	if (!here || !to || !ipcache_is_remote(to))
		return -DROP_NO_TUNNEL_ENDPOINT;
	verdict = set_tunnel_key(skb, here, &to->node, vni);
	clear_mark(skb);
	return verdict;
}

SEC("tc")
int to_overlay(struct __sk_buff *skb)
{
	struct packet *pkt;

	/* from_pod has judged and counted this one. */
	if (is_marked(skb, MARK_KEYED)) {
		clear_mark(skb);
		return TC_ACT_OK;
	}
	pkt = begin(skb);
	if (!pkt)
		return TC_ACT_SHOT;
	return finish(pkt, leave(skb, pkt), DIRECTION_EGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";

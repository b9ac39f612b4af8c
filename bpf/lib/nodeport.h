/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Services for packets that did not come from a socket of this node: what comes in by a card for a
 * node port, a load balancer's or an external address, and what pods send past the socket programs.
 */
#ifndef CILIATE_NODEPORT_H
#define CILIATE_NODEPORT_H

#include "config.h"
#include "nat.h"
#include "redirect.h"
#include "refuse.h"
#include "service.h"

static __always_inline bool is_for_service(const struct packet *pkt, enum scope scope)
{
	struct peer to = { .addr = pkt->daddr, .port = pkt->dport };

	return frontend_lookup(&to, pkt->protocol, scope);
}

static __always_inline bool source_allowed(const struct frontend *f, const struct addr *client)
{
	struct source_range_key key = { .prefix_len = 32 + CIDR_FULL, .id = f->id };

	__builtin_memcpy(key.addr, client, sizeof(key.addr));
	return bpf_map_lookup_elem(&source_ranges, &key);
}

/* The address under which this node asks a backend for a client: towards pods the router's, which
 * every node knows the way to, towards all else the node's. NULL: it has none of the family.
 */
static __always_inline const struct addr *source_towards(const struct node_config *here,
							 const struct packet *pkt,
							 const struct ipcache_entry *backend)
{
	const struct addr *a;

	if (backend && identity_is_pod(backend->identity))
		a = pkt->family == AF_INET ? &here->router4 : &here->router6;
	else
		a = pkt->family == AF_INET ? &here->underlay4 : &here->underlay6;
	return addr_is_zero(a) ? NULL : a;
}

/* Whether a client keeps its address, because the answer comes by one of our programs at all events:
 * that of this node itself to a pod, and that of a pod here, or of the node, to what is no pod.
 */
static __always_inline bool keeps_address(const struct packet *pkt,
					  const struct ipcache_entry *backend, enum scope scope)
{
	const struct ipcache_entry *client = ipcache_lookup(&pkt->saddr);

	if (scope == SCOPE_NODE)
		return backend && backend->identity == IDENTITY_HOST;
	if (!backend || !client || identity_is_pod(client->identity))
		return false;
	return backend->identity == IDENTITY_HOST ||
	       (identity_is_pod(backend->identity) && !ipcache_is_remote(backend));
}

/* Whether a backend answers its client past this node. Nodes and pods are no such clients: their
 * packets are believed by where they come from.
 */
static __always_inline bool answers_directly(const struct packet *pkt,
					     const struct ipcache_entry *backend, enum scope scope)
{
	const struct ipcache_entry *client;

	if (!direct_return || scope != SCOPE_WORLD || !backend ||
	    !identity_is_pod(backend->identity) || !ipcache_is_remote(backend))
		return false;
	client = ipcache_lookup(&pkt->saddr);
	return client && identity_is_world(client->identity);
}

/* From now on to_netdev and to_pod look at what this node's processes send. */
static __always_inline void note_host_serves(void)
{
	__u32 zero = 0, one = 1;

	bpf_map_update_elem(&host_serves, &zero, &one, BPF_ANY);
}

static __always_inline bool host_is_serving(void)
{
	__u32 zero = 0;
	const __u32 *serves = bpf_map_lookup_elem(&host_serves, &zero);

	return serves && *serves;
}

/* Chooses a backend for the packet at hand. NAT_FOREIGN: it asks for no Service. */
__noinline int choose(__u32 scope)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();
	const struct frontend *f;
	struct peer to = {};

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	to.addr = pkt->daddr;
	to.port = pkt->dport;
	f = frontend_lookup(&to, pkt->protocol, scope);
	if (!f)
		return NAT_FOREIGN;
	if ((f->flags & FRONTEND_GUARDED) && !source_allowed(f, &pkt->saddr))
		return -DROP_SOURCE_RANGE;
	if (!choose_backend(f, &pkt->saddr, slot_for_packet(f, pkt), &to))
		return f->flags & FRONTEND_LOCAL ? -DROP_NO_BACKEND : -DROP_REFUSED;
	/* Nobody forges a tunnel packet of this node by way of a Service. */
	if (!native && pkt->protocol == PROTOCOL_UDP && to.port == bpf_htons(tunnel_port))
		return -DROP_ENCAP_PROHIBITED;
	tuple_of(&w->from, pkt);
	w->becomes = w->from;
	w->becomes.daddr = to.addr;
	w->becomes.dport = to.port;
	return TC_ACT_OK;
}

/* Asks the backend under an address of this node. */
static __always_inline int open_as_node(struct __sk_buff *skb, const struct packet *pkt,
					struct translation *w, const struct ipcache_entry *backend)
{
	const struct node_config *here = node_config();
	const struct addr *source;

	if (!here)
		return -DROP_NAT_NO_MAPPING;
	source = source_towards(here, pkt, backend);
	if (!source)
		return -DROP_NAT_NO_MAPPING;
	w->becomes.saddr = *source;
	w->becomes.sport = w->from.sport;
	w->source_is_node = 1;
	w->dsr = 0;
	return connection_open(skb);
}

/* Asks the backend under the client's address. A client may have one port for two Services, which
 * one backend could not tell apart: then not all that it answers goes directly.
 */
static __always_inline int open_as_client(struct __sk_buff *skb, const struct packet *pkt,
					  struct translation *w,
					  const struct ipcache_entry *backend)
{
	int verdict;

	w->source_is_node = 0;
	verdict = connection_open(skb);
	return verdict && w->dsr ? open_as_node(skb, pkt, w, backend) : verdict;
}

/* Opens a connection to a backend and rewrites its first packet. NAT_FOREIGN: it asks for no
 * Service.
 */
__noinline int serve(struct __sk_buff *skb, __u32 scope)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();
	const struct ipcache_entry *backend;
	const struct endpoint *ep;
	int verdict;
	bool keeps;

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	verdict = choose(scope);
	if (verdict)
		return verdict;
	backend = ipcache_lookup(&w->becomes.daddr);
	w->dsr = answers_directly(pkt, backend, scope);
	keeps = w->dsr || keeps_address(pkt, backend, scope);
	ep = endpoint_of_address(scope == SCOPE_NODE ? &pkt->saddr : &w->becomes.daddr);
	w->generation = ep ? ep->generation : 0;
	if (keeps && backend && backend->identity == IDENTITY_HOST)
		note_host_serves();
	verdict = keeps ? open_as_client(skb, pkt, w, backend) : open_as_node(skb, pkt, w, backend);
	return verdict ? verdict : rewrite(skb, pkt, &w->becomes);
}

/* Larger than the tunnel takes: the sender is told of its own packet, under the address it used. */
static __always_inline int refuse_size(struct __sk_buff *skb, struct packet *pkt, __u32 mtu)
{
	struct translation *w = translation_at_hand();
	int verdict;

	if (!w)
		return -DROP_TOO_BIG;
	verdict = rewrite(skb, pkt, &w->from);
	return verdict ? verdict : answer_too_big(skb, pkt, &w->from.daddr, mtu);
}

static __always_inline int route_served_remote(struct __sk_buff *skb, struct packet *pkt,
					       const struct ipcache_entry *to)
{
	const struct node_config *here = node_config();

	if (!here)
		return -DROP_NO_TUNNEL_ENDPOINT;
	/* What may be cut is cut outside the tunnel, where that is IPv4. */
	if (exceeds(skb, pkt, here->mtu) && (pkt->dont_fragment || !addr_is_mapped(&to->node)))
		return refuse_size(skb, pkt, here->mtu);
	pkt->identity = IDENTITY_HOST;
	return route_tunnel(skb, pkt, here, to);
}

/* Where a translated packet goes. Much of it has an address of this node as its source, which the
 * host's stack would not take from a device.
 */
__noinline int route_served(struct __sk_buff *skb)
{
	struct packet *pkt = packet_at_hand();
	const struct ipcache_entry *to;
	struct bpf_fib_lookup fib = {};
	const struct endpoint *local;

	if (!pkt)
		return -DROP_NAT_NO_MAPPING;
	if (pkt->ttl <= LAST_HOP)
		return -DROP_TTL_EXCEEDED;
	local = endpoint_of_address(&pkt->daddr);
	if (local)
		return deliver(skb, pkt, local);
	to = ipcache_lookup(&pkt->daddr);
	if (!native && to && identity_is_pod(to->identity) && ipcache_is_remote(to))
		return route_served_remote(skb, pkt, to);
	switch (find_route(skb, pkt, &fib)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		skb->mark = MARK_KEYED;
		return leave_by(skb, pkt, &fib);
	case BPF_FIB_LKUP_RET_NOT_FWDED: /* to this node itself */
		return TC_ACT_OK;
	}
	return -DROP_FIB_LOOKUP_FAILED;
}

/* What comes to an address of this node may be the answer of a backend, or an error about what was
 * sent to it. NAT_FOREIGN: it is for the node itself.
 */
static __always_inline int return_served(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict;

	if (parse_echo(skb, pkt))
		return NAT_FOREIGN;
	verdict = is_icmp_error(pkt) ? translate_error(skb) : translate_known(skb);
	return verdict ? verdict : route_served(skb);
}

/* From a pod to a Service by packets. Its answers come to the node and are returned from there. */
static __always_inline int serve_pod(struct __sk_buff *skb, struct packet *pkt)
{
	int verdict;

	if (stack_forwarding || !is_for_service(pkt, SCOPE_NODE))
		return NAT_FOREIGN;
	verdict = translate_known(skb);
	if (verdict == NAT_FOREIGN)
		verdict = serve(skb, SCOPE_NODE);
	return verdict ? verdict : route_served(skb);
}

#endif

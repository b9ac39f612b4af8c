/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Direct server return: the node that a client asked leads the packet on under the client's address,
 * and the backend's node answers the client as the Service. The former sees only what the client
 * sends; the latter has the connection as if the client had asked it.
 */
#ifndef CILIATE_DSR_H
#define CILIATE_DSR_H

#include "masquerade.h"
#include "nodeport.h"
#include "option.h"

/* Whether a packet has to name its Service. A SYN comes again until it is answered, and nobody
 * answers before the backend's node has had it; of other protocols no packet is known to arrive, so
 * that each of them does.
 */
static __always_inline bool names_service(struct __sk_buff *skb, const struct packet *pkt)
{
	if (pkt->fragment == FRAGMENT_LATER)
		return false;
	return pkt->protocol != PROTOCOL_TCP || seen_in(skb, pkt) == SEEN_SYN;
}

/* Tells the backend's node which Service the client asked. */
__noinline int name_service(struct __sk_buff *skb)
{
	const struct node_config *here = node_config();
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();
	struct peer service = {};
	__u32 room;

	if (!w || !pkt || !here)
		return -DROP_NAT_NO_MAPPING;
	if (!names_service(skb, pkt))
		return TC_ACT_OK;
	room = here->mtu - option_bytes(pkt);
	if (here->mtu && pkt->dont_fragment && exceeds(skb, pkt, room))
		return refuse_size(skb, pkt, room);
	service.addr = w->from.daddr;
	service.port = w->from.dport;
	return insert_option(skb, pkt, &service);
}

/* Whether the packet that was just translated is of a connection that is answered directly. */
static __always_inline bool is_dsr(void)
{
	const struct translation *w = translation_at_hand();

	return w && w->dsr;
}

/* Onwards to the backend's node. What has become too large and may be cut is the stack's to cut. */
static __always_inline int lead_dsr(struct __sk_buff *skb, struct packet *pkt)
{
	const struct node_config *here = node_config();
	int verdict = name_service(skb);

	if (verdict)
		return verdict;
	if (here && !pkt->dont_fragment && exceeds(skb, pkt, here->mtu))
		return TC_ACT_OK;
	return route_served(skb);
}

/* Whether clients outside ask for this: at a frontend of ours, or at a port of another node that is
 * a node port, and so at our own address as well.
 */
static __always_inline bool is_known_service(const struct packet *pkt, const struct peer *service)
{
	const struct node_config *here = node_config();
	const struct ipcache_entry *at;
	struct peer own = *service;

	if (frontend_lookup(service, pkt->protocol, SCOPE_WORLD))
		return true;
	at = ipcache_lookup(&service->addr);
	if (!here || !at || !identity_is_node(at->identity))
		return false;
	own.addr = pkt->family == AF_INET ? here->underlay4 : here->underlay6;
	return frontend_lookup(&own, pkt->protocol, SCOPE_WORLD);
}

/* Answers under one pair of addresses and ports come from one Service. A TCP connection keeps its
 * place there until it is over; what has no end, or was admitted without a Service, makes way.
 */
static __always_inline void make_way(struct translation *w)
{
	const struct connection *have;

	tuple_reverse(&w->back, &w->becomes);
	have = connection_lookup(&w->back);
	if (!have || tuple_is_reverse(&have->becomes, &w->from))
		return;
	if (w->back.protocol != PROTOCOL_TCP || addr_equal(&have->becomes.saddr, &w->back.saddr))
		connection_forget(&w->back);
}

/* The connection of a packet that names its Service, as if the client had asked this node for it. */
__noinline int open_led(struct __sk_buff *skb)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();
	const struct endpoint *local;
	struct connection *c;

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	local = endpoint_of_address(&pkt->daddr);
	if (!local)
		return -DROP_NO_LOCAL_POD;
	tuple_of(&w->becomes, pkt);
	c = connection_lookup(&w->from);
	if (c && tuple_equal(&c->becomes, &w->becomes) && connection_is_current(&w->from, c) &&
	    connection_keep(w, c, seen_in(skb, pkt)))
		return TC_ACT_OK;
	make_way(w);
	w->generation = local->generation;
	w->source_is_node = w->dsr = 0;
	return connection_open(skb);
}

/* Takes the name of the Service out of a packet that has one. Pods and nodes have none to say.
 * NAT_FOREIGN: neither has this one.
 */
__noinline int take_option(struct __sk_buff *skb)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();
	const struct ipcache_entry *client;
	struct peer service = {};

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	if (!has_option(skb, pkt))
		return NAT_FOREIGN;
	client = ipcache_lookup(&pkt->saddr);
	if (!client || !identity_is_world(client->identity) || !read_option(skb, pkt, &service) ||
	    !is_known_service(pkt, &service))
		return -DROP_SERVICE_OPTION;
	tuple_of(&w->from, pkt);
	w->from.daddr = service.addr;
	w->from.dport = service.port;
	return strip_option(skb, pkt);
}

/* Notes a later packet of a connection whose first one named its Service. NAT_FOREIGN: of none. */
__noinline int keep_led(struct __sk_buff *skb)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();
	struct connection *c;

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	tuple_of(&w->from, pkt);
	tuple_reverse(&w->back, &w->from);
	c = connection_lookup(&w->back);
	if (!c || !connection_is_current(&w->back, c) ||
	    addr_equal(&c->becomes.saddr, &w->back.saddr))
		return NAT_FOREIGN;
	tuple_reverse(&w->from, &c->becomes);
	c = connection_lookup(&w->from);
	return c && connection_keep(w, c, seen_in(skb, pkt)) ? TC_ACT_OK : NAT_FOREIGN;
}

/* What another node may have led to a pod of ours, for whom the client has no name but the
 * Service's. NAT_FOREIGN: nobody led it.
 */
static __always_inline int receive_led(struct __sk_buff *skb, struct packet *pkt)
{
	int named;

	if (pkt->protocol != PROTOCOL_TCP && pkt->protocol != PROTOCOL_UDP)
		return NAT_FOREIGN;
	named = take_option(skb);
	if (named < 0)
		return named;
	if (!known_fragment(pkt, true))
		return named;
	if (named == NAT_FOREIGN)
		return keep_led(skb);
	/* A later fragment was cut off on its way, and its first one has said it all. */
	return pkt->fragment == FRAGMENT_LATER ? TC_ACT_OK : open_led(skb);
}

#endif

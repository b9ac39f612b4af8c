/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The last step of a packet: into a pod, to another node, or to the host's stack. */
#ifndef CILIATE_REDIRECT_H
#define CILIATE_REDIRECT_H

#include "config.h"
#include "encap.h"
#include "endpoint.h"
#include "fragment.h"
#include "icmp.h"
#include "identity.h"
#include "ipcache.h"
#include "parse.h"
#include "vxlan.h"

enum hops {
	LAST_HOP = 1, /* the stack is to say that it was exceeded */
};

enum tunnel_route {
	LOOPBACK_IFINDEX = 1, /* where the kernel lets what a node itself sends begin */
	MAX_INNER_BYTES = 65535 + ETH_HLEN - VXLAN_OVERHEAD, /* of a frame */
};

static __always_inline bool is_own_address(const struct addr *a)
{
	const struct node_config *here = node_config();
	const struct ipcache_entry *entry;

	if (here && (addr_equal(a, &here->router4) || addr_equal(a, &here->router6)))
		return true;
	entry = ipcache_lookup(a);
	return entry && entry->identity == IDENTITY_HOST;
}

/* Hands the packet to the host's stack, which hands it to to_pod, to_overlay or a card. */
static __always_inline int to_stack(struct __sk_buff *skb, const struct packet *pkt)
{
	mark_identity(skb, pkt->identity);
	return TC_ACT_OK;
}

/* Into the pod, past the host's stack: the place where ingress is judged for every packet that
 * takes this way.
 */
static __always_inline int deliver(struct __sk_buff *skb, struct packet *pkt,
				   const struct endpoint *ep)
{
	int verdict = route_hop(skb, pkt, ep->host_mac, ep->mac);

	if (verdict)
		return verdict;
	skb->mark = 0;
	pkt->to_pod = true;
	return bpf_redirect_peer(ep->ifindex, 0);
}

/* Between which addresses a route is wanted. */
static __always_inline void ask_for_route(struct bpf_fib_lookup *fib, __u8 family,
					  const struct addr *from, const struct addr *to)
{
	fib->family = family;
	if (family == AF_INET) {
		fib->ipv4_src = mapped_ipv4(from);
		fib->ipv4_dst = mapped_ipv4(to);
	} else {
		__builtin_memcpy(fib->ipv6_src, from, sizeof(fib->ipv6_src));
		__builtin_memcpy(fib->ipv6_dst, to, sizeof(fib->ipv6_dst));
	}
}

/* What the host's routes say of the packet. */
static __always_inline long find_route(struct __sk_buff *skb, const struct packet *pkt,
				       struct bpf_fib_lookup *fib)
{
	fib->ifindex = skb->ifindex;
	ask_for_route(fib, pkt->family, &pkt->saddr, &pkt->daddr);
	return bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
}

/* Out by the route that was found, to a neighbour that the kernel knows or asks for. */
static __always_inline int to_neighbor(const struct bpf_fib_lookup *fib)
{
	struct bpf_redir_neigh next = { .nh_family = fib->family };

	__builtin_memcpy(next.ipv6_nh, fib->ipv6_dst, sizeof(next.ipv6_nh));
	return bpf_redirect_neigh(fib->ifindex, &next, sizeof(next), 0);
}

static __always_inline int leave_by(struct __sk_buff *skb, const struct packet *pkt,
				    const struct bpf_fib_lookup *fib)
{
	int verdict = route_hop(skb, pkt, pkt->smac, pkt->dmac);

	return verdict ? verdict : to_neighbor(fib);
}

/* By the host's routes, past its stack. What they do not settle goes to the stack. */
static __always_inline int route_native(struct __sk_buff *skb, const struct packet *pkt)
{
	struct bpf_fib_lookup fib = {};

	switch (find_route(skb, pkt, &fib)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		break;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return -DROP_FIB_LOOKUP_FAILED;
	default:
		return to_stack(skb, pkt);
	}
	skb->mark = MARK_KEYED;
	return leave_by(skb, pkt, &fib);
}

/* Whether packets between pods and this device do not cross the stack: both ways or neither, or the
 * host's firewall would see half a conversation.
 */
static __always_inline bool is_direct(__u32 ifindex)
{
	const struct card *card = bpf_map_lookup_elem(&cards, &ifindex);

	return !stack_forwarding && card && card->direct;
}

/* How the node itself would reach another one, if that is by a card and the packet fits: to what
 * is to be cut, or is more than a header can say, the tunnel device knows the way.
 */
static __always_inline bool find_tunnel_route(struct __sk_buff *skb, const struct packet *pkt,
					      const struct node_config *here, const struct addr *to,
					      struct bpf_fib_lookup *fib)
{
	long found;

	if (!here->encapsulates || !addr_is_mapped(to) || addr_is_zero(&here->underlay4) ||
	    skb->len > MAX_INNER_BYTES)
		return false;
	fib->ifindex = LOOPBACK_IFINDEX;
	fib->l4_protocol = PROTOCOL_UDP;
	fib->sport = vxlan_source_port(skb);
	fib->dport = bpf_htons(tunnel_port);
	fib->tot_len = segment_bytes(skb, pkt) + VXLAN_OVERHEAD;
	ask_for_route(fib, AF_INET, &here->underlay4, to);
	found = bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	return is_direct(fib->ifindex);
}

/* In a tunnel frame of our own to a card, or through the tunnel device, whose program knows by the
 * mark that the key is set, as the card's knows that nothing is left to do.
 */
static __always_inline int route_tunnel(struct __sk_buff *skb, const struct packet *pkt,
					const struct node_config *here,
					const struct ipcache_entry *to)
{
	struct bpf_fib_lookup fib = {};
	int verdict;

	if (!here->tunnel_ifindex)
		return -DROP_NO_TUNNEL_ENDPOINT;
	verdict = route_hop(skb, pkt, pkt->smac, pkt->dmac);
	if (verdict)
		return verdict;
	skb->mark = MARK_KEYED;
	if (find_tunnel_route(skb, pkt, here, &to->node, &fib) && widen(skb)) {
		verdict = write_vxlan(skb, pkt, &here->underlay4, &to->node, fib.sport);
		return verdict ? verdict : to_neighbor(&fib);
	}
	verdict = set_tunnel_key(skb, here, &to->node, pkt->identity);
	return verdict ? verdict : bpf_redirect(here->tunnel_ifindex, 0);
}

/* By the host's routes to a card, whose program gives the packet the node's address. What is for
 * this node itself, leaves by another device, or is to be answered with an ICMP error is the stack's.
 */
static __always_inline int route_out(struct __sk_buff *skb, const struct packet *pkt)
{
	struct bpf_fib_lookup fib = {};
	long found;

	if (stack_forwarding || pkt->ttl <= LAST_HOP)
		return to_stack(skb, pkt);
	fib.tot_len = segment_bytes(skb, pkt);
	found = find_route(skb, pkt, &fib);
	if ((found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH) ||
	    !is_direct(fib.ifindex))
		return to_stack(skb, pkt);
	mark_identity(skb, pkt->identity);
	return leave_by(skb, pkt, &fib);
}

static __always_inline const struct addr *gateway_of(const struct packet *pkt,
						     const struct endpoint_if *ep)
{
	return pkt->family == AF_INET ? &ep->gateway4 : &ep->gateway6;
}

/* To a pod of another node. */
static __always_inline int route_remote(struct __sk_buff *skb, struct packet *pkt,
					const struct endpoint_if *ep,
					const struct ipcache_entry *to)
{
	const struct node_config *here = node_config();

	if (!here)
		return -DROP_NO_TUNNEL_ENDPOINT;
	if (native && to->identity == IDENTITY_UNKNOWN)
		return -DROP_UNKNOWN_POD;
	if (stack_forwarding || pkt->ttl <= LAST_HOP)
		return to_stack(skb, pkt);
	/* What may be cut the stack cuts; the tunnel device has the same MTU. */
	if (exceeds(skb, pkt, here->mtu))
		return pkt->dont_fragment ? answer_too_big(skb, pkt, gateway_of(pkt, ep), here->mtu)
					  : to_stack(skb, pkt);
	if (native)
		return route_native(skb, pkt);
	return route_tunnel(skb, pkt, here, to);
}

#endif

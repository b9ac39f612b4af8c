/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* A card's driver, before there is a packet: from_wire. It leads on what comes from outside for a
 * Service and goes outside again, to a backend that is reached by a card, and the answers. It does
 * what from_netdev would do, in the same tables, or nothing: all that is not plain it leaves as it
 * came, and from_netdev sees it next. So it may come and go at any time.
 */
#include "lib/config.h"
#include "lib/event.h"
#include "lib/frame.h"
#include "lib/maps.h"
#include "lib/nat.h"
#include "lib/nodeport.h"
#include "lib/redirect.h"

/* Whether the frame is for this node, and comes by a card that we forward for. */
static __always_inline bool is_ours(struct xdp_md *xdp, const struct frame *f)
{
	__u32 ifindex = xdp->ingress_ifindex;
	const struct wire *in = bpf_map_lookup_elem(&wires, &ifindex);

	return in && mac_equal(f->eth->h_dest, in->mac);
}

/* Tunnel packets are of no connection, and by far the most where there is a tunnel. */
static __always_inline bool is_tunnel(const struct tuple *t)
{
	return !native && t->protocol == PROTOCOL_UDP && t->dport == bpf_htons(tunnel_port);
}

/* Whether the host's routes lead to a neighbour that the kernel knows, by a card that we send by, and
 * the frame fits there.
 */
static __always_inline bool find_neighbor(struct xdp_md *xdp, const struct frame *f,
					  const struct tuple *to, struct bpf_fib_lookup *fib)
{
	__u32 ifindex = xdp->ingress_ifindex;

	fib->ifindex = ifindex;
	fib->tot_len = f->l3_bytes;
	ask_for_route(fib, f->family, &to->saddr, &to->daddr);
	if (bpf_fib_lookup(xdp, fib, sizeof(*fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	ifindex = fib->ifindex;
	return bpf_map_lookup_elem(&wires, &ifindex);
}

/* Goes on with a connection, if it leads from outside to outside: one in which a pod of this node takes
 * part ends here, and a client that keeps its address needs more than another destination.
 */
static __always_inline bool follow(struct xdp_md *xdp, const struct frame *f, struct translation *w,
				   struct connection *c, struct bpf_fib_lookup *fib)
{
	if (c->generation || addr_equal(&c->becomes.saddr, &w->from.saddr) ||
	    frame_is_unsummed(f, &w->from))
		return false;
	w->becomes = c->becomes;
	return find_neighbor(xdp, f, &w->becomes, fib) &&
	       connection_keep(w, c, frame_shows(f, &w->from));
}

/* As socket_awaits and connection_open are for tc. */
__noinline int socket_awaits_xdp(struct xdp_md *xdp)
{
	struct translation *w = translation_at_hand();

	return w && node_has_socket(xdp, &w->back);
}

__noinline int connection_open_xdp(struct xdp_md *xdp, __u8 seen)
{
	struct translation *w = translation_at_hand();
	struct packet *pkt = packet_at_hand();

	if (!w || !pkt)
		return -DROP_NAT_NO_MAPPING;
	return open_connection(xdp, (int (*)(void *))socket_awaits_xdp, pkt, w, seen);
}

/* What the choice of a backend asks of a packet. */
static __always_inline void note_packet(struct packet *pkt, const struct frame *f,
					const struct tuple *t)
{
	__builtin_memset(pkt, 0, sizeof(*pkt));
	pkt->saddr = t->saddr;
	pkt->daddr = t->daddr;
	pkt->sport = t->sport;
	pkt->dport = t->dport;
	pkt->protocol = t->protocol;
	pkt->family = f->family;
}

/* Opens a connection to a backend that is asked under an address of this node. */
static __always_inline bool open(struct xdp_md *xdp, const struct frame *f, struct translation *w,
				 struct bpf_fib_lookup *fib)
{
	struct peer to = { .addr = w->from.daddr, .port = w->from.dport };
	const struct node_config *here = node_config();
	struct packet *pkt = packet_at_hand();
	const struct ipcache_entry *backend;
	const struct addr *source;

	if (!pkt || !here || !frontend_lookup(&to, w->from.protocol, SCOPE_WORLD) ||
	    frame_is_unsummed(f, &w->from))
		return false;
	note_packet(pkt, f, &w->from);
	if (choose(SCOPE_WORLD) != TC_ACT_OK)
		return false;
	backend = ipcache_lookup(&w->becomes.daddr);
	if (answers_directly(pkt, backend, SCOPE_WORLD) || keeps_address(pkt, backend, SCOPE_WORLD))
		return false;
	source = source_towards(here, pkt, backend);
	if (!source)
		return false;
	w->becomes.saddr = *source;
	w->source_is_node = 1;
	w->generation = w->dsr = 0;
	return find_neighbor(xdp, f, &w->becomes, fib) &&
	       connection_open_xdp(xdp, frame_shows(f, &w->from)) == TC_ACT_OK;
}

static __always_inline int forward(struct xdp_md *xdp, struct frame *f, struct translation *w)
{
	struct bpf_fib_lookup fib = {};
	struct connection *c;

	if (!is_ours(xdp, f) || is_tunnel(&w->from))
		return XDP_PASS;
	c = connection_lookup(&w->from);
	if (c ? !follow(xdp, f, w, c, &fib) : !open(xdp, f, w, &fib))
		return XDP_PASS;
	frame_rewrite(f, &w->from, &w->becomes);
	write_macs(f->eth, fib.smac, fib.dmac);
	count(f->l3_bytes + ETH_HLEN, DIRECTION_INGRESS, ACCELERATED);
	/* Not XDP_TX, even by the same card: a veth wakes its peer for that only if it runs XDP too. */
	return bpf_redirect(fib.ifindex, 0);
}

SEC("xdp.frags")
int from_wire(struct xdp_md *xdp)
{
	struct translation *w = translation_at_hand();
	struct frame f = {};

	if (!w || !frame_parse(xdp, &f, &w->from))
		return XDP_PASS;
	return forward(xdp, &f, w);
}

char _license[] SEC("license") = "Dual BSD/GPL";

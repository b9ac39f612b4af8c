/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Services at the socket: whoever connects or sends to the address of a Service is given a backend
 * before there is a packet, and sees the Service as its peer all the same. The programs sit at the
 * root of the node's control groups, so pods and the node's own processes are served alike.
 * Addresses that are nobody's frontend pass untouched. And a process of the node cannot take a node
 * port, where it would wait for ever: what comes to it is the Service's.
 */
#include "lib/addr.h"
#include "lib/config.h"
#include "lib/encap.h"
#include "lib/maps.h"
#include "lib/service.h"

enum sock_number {
	ALLOW = 1,
	DENY = 0,
	ADDRESS_IN_USE = 98,
	CONNECTION_REFUSED = 111,
	/* A socket of MPTCP connects by TCP. */
	PROTOCOL_MPTCP = 262,
};

static __always_inline __u8 protocol_of(const struct bpf_sock_addr *ctx)
{
	return ctx->protocol == PROTOCOL_MPTCP ? IPPROTO_TCP : ctx->protocol;
}

/* The address in the call, in the one form that maps know. */
static __always_inline void read_peer4(const struct bpf_sock_addr *ctx, struct peer *p)
{
	map_ipv4(&p->addr, ctx->user_ip4);
	p->port = ctx->user_port;
}

static __always_inline void read_peer6(const struct bpf_sock_addr *ctx, struct peer *p)
{
	__u32 *words = (__u32 *)p->addr.b;

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	p->port = ctx->user_port;
}

static __always_inline void write_peer4(struct bpf_sock_addr *ctx, const struct peer *p)
{
	ctx->user_ip4 = *(const __be32 *)&p->addr.b[MAPPED_START];
	ctx->user_port = p->port;
}

static __always_inline void write_peer6(struct bpf_sock_addr *ctx, const struct peer *p)
{
	const __u32 *words = (const __u32 *)p->addr.b;

	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
	ctx->user_port = p->port;
}

enum outcome {
	FOREIGN,
	TRANSLATED,
	REFUSED,
};

/* Replaces a frontend by a backend and remembers it for the way back. A frontend at a loopback
 * address is the node's own; a pod that names one means itself.
 *
 * Maglev has no say here: a socket asks one node, once, and keeps what it was given, so there is no
 * other node to agree with. Nor is there a conversation to hash: connect comes before the source port.
 */
static __always_inline enum outcome translate(struct bpf_sock_addr *ctx, struct peer *p, __u32 dice)
{
	const struct frontend *f = frontend_lookup(p, protocol_of(ctx), SCOPE_NODE);
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct addr client = {};
	struct reverse_key key = {};
	struct peer frontend = *p;

	if (!f || (netns != host_netns && addr_is_loopback(&p->addr)))
		return FOREIGN;
	*(__u64 *)client.b = netns;
	if (!choose_backend(f, &client, slot_by_dice(f, dice), p)) {
		bpf_set_retval(-CONNECTION_REFUSED);
		return REFUSED;
	}
	key.socket = bpf_get_socket_cookie(ctx);
	key.backend = *p;
	bpf_map_update_elem(&reverse, &key, &frontend, BPF_ANY);
	return TRANSLATED;
}

/* The frontend that the socket asked for, in place of the backend that answers. */
static __always_inline bool reverse_translate(struct bpf_sock_addr *ctx, struct peer *p)
{
	struct reverse_key key = { .socket = bpf_get_socket_cookie(ctx), .backend = *p };
	const struct peer *frontend = bpf_map_lookup_elem(&reverse, &key);

	if (frontend)
		*p = *frontend;
	return frontend;
}

/* An unconnected socket keeps to one backend while the list stays the same, as a flow that conntrack
 * follows would: a datagram of several may not go elsewhere.
 */
static __always_inline __u32 dice_of_socket(struct bpf_sock_addr *ctx)
{
	return bpf_get_socket_cookie(ctx) * GOLDEN >> HALF;
}

static __always_inline int forward4(struct bpf_sock_addr *ctx, __u32 dice)
{
	struct peer p = {};
	enum outcome outcome;

	read_peer4(ctx, &p);
	outcome = translate(ctx, &p, dice);
	if (outcome == TRANSLATED)
		write_peer4(ctx, &p);
	return outcome == REFUSED ? DENY : ALLOW;
}

/* Sockets of IPv6 may name an IPv4 address (mapped); the kernel does not ask the IPv4 programs
 * then. The maps hold IPv4 addresses in that very form.
 */
static __always_inline int forward6(struct bpf_sock_addr *ctx, __u32 dice)
{
	struct peer p = {};
	enum outcome outcome;

	read_peer6(ctx, &p);
	outcome = translate(ctx, &p, dice);
	if (outcome == TRANSLATED)
		write_peer6(ctx, &p);
	return outcome == REFUSED ? DENY : ALLOW;
}

static __always_inline int backward4(struct bpf_sock_addr *ctx)
{
	struct peer p = {};

	read_peer4(ctx, &p);
	if (reverse_translate(ctx, &p))
		write_peer4(ctx, &p);
	return ALLOW;
}

static __always_inline int backward6(struct bpf_sock_addr *ctx)
{
	struct peer p = {};

	read_peer6(ctx, &p);
	if (reverse_translate(ctx, &p))
		write_peer6(ctx, &p);
	return ALLOW;
}

/* Only what is marked as a node port: a process of the node may well be what stands behind an
 * external address or a load balancer's.
 */
static __always_inline bool is_node_port(const struct bpf_sock_addr *ctx, const struct addr *at)
{
	struct peer p = { .addr = *at, .port = ctx->user_port };
	const struct frontend *f = frontend_lookup(&p, protocol_of(ctx), SCOPE_NODE);

	return f && (f->flags & FRONTEND_NODE_PORT);
}

/* Pods have ports of their own, and beside kube-proxy node ports are kube-proxy's. */
static __always_inline bool is_guarded(struct bpf_sock_addr *ctx)
{
	return !stack_forwarding && bpf_get_netns_cookie(ctx) == host_netns;
}

static __always_inline int refuse_bind(void)
{
	bpf_set_retval(-ADDRESS_IN_USE);
	return DENY;
}

/* Whether who listens there would hear nothing. A node port answers at all addresses of the node, so
 * the first one speaks for all. Who listens at all addresses of IPv6 listens at those of IPv4 as well;
 * one who has switched that off is known by nothing that every kernel shows here, and taken for one
 * who has not.
 */
static __always_inline bool is_held(const struct bpf_sock_addr *ctx, const struct peer *p)
{
	const struct node_config *here = node_config();

	if (!here)
		return false;
	if (addr_is_zero(&p->addr))
		return is_node_port(ctx, &here->underlay4) || is_node_port(ctx, &here->underlay6);
	if (addr_is_mapped(&p->addr) && !mapped_ipv4(&p->addr))
		return is_node_port(ctx, &here->underlay4);
	return is_node_port(ctx, &p->addr);
}

/* These see what was asked for. Programs of post_bind see the outcome: they would refuse a process
 * that leaves the choice of its port to the kernel.
 */
SEC("cgroup/bind4")
int sock_bind4(struct bpf_sock_addr *ctx)
{
	struct peer p = {};

	if (!is_guarded(ctx))
		return ALLOW;
	read_peer4(ctx, &p);
	return is_held(ctx, &p) ? refuse_bind() : ALLOW;
}

SEC("cgroup/bind6")
int sock_bind6(struct bpf_sock_addr *ctx)
{
	struct peer p = {};

	if (!is_guarded(ctx))
		return ALLOW;
	read_peer6(ctx, &p);
	return is_held(ctx, &p) ? refuse_bind() : ALLOW;
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	return forward4(ctx, bpf_get_prandom_u32());
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	return forward6(ctx, bpf_get_prandom_u32());
}

SEC("cgroup/sendmsg4")
int sock_sendmsg4(struct bpf_sock_addr *ctx)
{
	return forward4(ctx, dice_of_socket(ctx));
}

SEC("cgroup/sendmsg6")
int sock_sendmsg6(struct bpf_sock_addr *ctx)
{
	return forward6(ctx, dice_of_socket(ctx));
}

SEC("cgroup/recvmsg4")
int sock_recvmsg4(struct bpf_sock_addr *ctx)
{
	return backward4(ctx);
}

SEC("cgroup/recvmsg6")
int sock_recvmsg6(struct bpf_sock_addr *ctx)
{
	return backward6(ctx);
}

SEC("cgroup/getpeername4")
int sock_getpeername4(struct bpf_sock_addr *ctx)
{
	return backward4(ctx);
}

SEC("cgroup/getpeername6")
int sock_getpeername6(struct bpf_sock_addr *ctx)
{
	return backward6(ctx);
}

char _license[] SEC("license") = "Dual BSD/GPL";

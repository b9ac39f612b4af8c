/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* A frame as it came off the wire, before the kernel has made a packet of it: parse.h and rewrite.h
 * for XDP. It knows TCP and UDP behind a plain IP header and nothing else, because all else is left
 * to those two.
 */
#ifndef CILIATE_FRAME_H
#define CILIATE_FRAME_H

#include "addr.h"
#include "conntrack.h"
#include "neighbor.h"
#include "parse.h"
#include "redirect.h"

/* Where the headers of a frame are. */
struct frame {
	struct ethhdr *eth;
	void *ip;
	__be16 *ports; /* source and destination */
	__sum16 *check; /* of TCP or UDP */
	__u16 l3_bytes; /* from the IP header on */
	__u16 l4_bytes;
	__u8 family;
	__u8 flags; /* of TCP */
};

static __always_inline bool frame_l4(struct frame *f, void *l4, void *end, struct tuple *t)
{
	struct tcphdr *tcp = l4;
	struct udphdr *udp = l4;

	switch (t->protocol) {
	case PROTOCOL_TCP:
		if ((void *)(tcp + 1) > end || f->l4_bytes < sizeof(*tcp))
			return false;
		f->check = &tcp->check;
		f->flags = *((__u8 *)tcp + TCP_FLAGS);
		break;
	case PROTOCOL_UDP:
		if ((void *)(udp + 1) > end || f->l4_bytes < sizeof(*udp))
			return false;
		f->check = &udp->check;
		break;
	default:
		return false;
	}
	f->ports = l4;
	t->sport = f->ports[0];
	t->dport = f->ports[1];
	t->kind = CONNECTION_TRANSLATED;
	t->pad[0] = t->pad[1] = 0;
	/* Last, or clang takes the checks above for part of it and leaves them out, and the verifier
	 * misses them.
	 */
	return l4 + f->l4_bytes <= end;
}

/* Neither options nor fragments, and a hop left. */
static __always_inline bool frame_ipv4(struct frame *f, void *end, struct tuple *t)
{
	struct iphdr *ip = (void *)(f->eth + 1);

	if ((void *)(ip + 1) > end || *(__u8 *)ip != IPV4_VERSION_IHL || ip->ttl <= LAST_HOP ||
	    (ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)))
		return false;
	f->ip = ip;
	f->family = AF_INET;
	f->l3_bytes = bpf_ntohs(ip->tot_len);
	if (f->l3_bytes < sizeof(*ip))
		return false;
	f->l4_bytes = f->l3_bytes - sizeof(*ip);
	map_ipv4(&t->saddr, ip->saddr);
	map_ipv4(&t->daddr, ip->daddr);
	t->protocol = ip->protocol;
	return frame_l4(f, ip + 1, end, t);
}

/* No extension headers, no jumbogram, and a hop left. */
static __always_inline bool frame_ipv6(struct frame *f, void *end, struct tuple *t)
{
	struct ipv6hdr *ip = (void *)(f->eth + 1);

	if ((void *)(ip + 1) > end || ip->version != 6 || ip->hop_limit <= LAST_HOP)
		return false;
	f->ip = ip;
	f->family = AF_INET6;
	f->l4_bytes = bpf_ntohs(ip->payload_len);
	f->l3_bytes = f->l4_bytes + sizeof(*ip);
	__builtin_memcpy(&t->saddr, &ip->saddr, sizeof(t->saddr));
	__builtin_memcpy(&t->daddr, &ip->daddr, sizeof(t->daddr));
	if (addr_is_mapped(&t->saddr) || addr_is_mapped(&t->daddr))
		return false;
	t->protocol = ip->nexthdr;
	return frame_l4(f, ip + 1, end, t);
}

/* False: the frame has something out of the ordinary. */
static __always_inline bool frame_parse(struct xdp_md *xdp, struct frame *f, struct tuple *t)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;

	f->eth = data;
	if ((void *)(f->eth + 1) > end)
		return false;
	switch (f->eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return frame_ipv4(f, end, t);
	case bpf_htons(ETH_P_IPV6):
		return frame_ipv6(f, end, t);
	}
	return false;
}

/* Whether the sender has left the sum to its card, as senders on the same machine do: what stands
 * there is then that of the pseudo header, and only the kernel's packet says so. One honest sum in
 * 65,536 looks the same. For IPv4 the sum over mapped addresses is that over the addresses.
 */
static __always_inline bool frame_is_unsummed(const struct frame *f, struct tuple *t)
{
	__s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&t->saddr, 2 * sizeof(t->saddr), 0);
	__be32 rest[2] = { bpf_htonl(f->l4_bytes), bpf_htonl(t->protocol) };

	sum = bpf_csum_diff(NULL, 0, rest, sizeof(rest), sum);
	return *f->check == (__sum16)~fold(sum);
}

/* What the frame shows of its direction. */
static __always_inline __u8 frame_shows(const struct frame *f, const struct tuple *t)
{
	return t->protocol == PROTOCOL_TCP ? seen_by_flags(f->flags) : SEEN_DATA;
}

/* A checksum after what it covers has changed. */
static __always_inline __sum16 changed_sum(__sum16 old, __s64 change)
{
	__u32 sum = change;

	return fold((__u16)~old + (sum & 0xffff) + (sum >> 16));
}

/* Makes the frame another's and takes a hop off. */
static __always_inline void frame_rewrite(struct frame *f, struct tuple *from, struct tuple *to)
{
	__s64 addrs = bpf_csum_diff((__be32 *)&from->saddr, 2 * sizeof(from->saddr),
				    (__be32 *)&to->saddr, 2 * sizeof(to->saddr), 0);
	__s64 all = bpf_csum_diff((__be32 *)&from->sport, 2 * sizeof(from->sport),
				  (__be32 *)&to->sport, 2 * sizeof(to->sport), addrs);
	struct ipv6hdr *ip6 = f->ip;
	struct iphdr *ip4 = f->ip;

	if (f->family == AF_INET) {
		ip4->saddr = mapped_ipv4(&to->saddr);
		ip4->daddr = mapped_ipv4(&to->daddr);
		ip4->check = changed_sum(ip4->check, addrs);
		take_hop(ip4);
	} else {
		__builtin_memcpy(&ip6->saddr, &to->saddr, sizeof(ip6->saddr));
		__builtin_memcpy(&ip6->daddr, &to->daddr, sizeof(ip6->daddr));
		ip6->hop_limit--;
	}
	f->ports[0] = to->sport;
	f->ports[1] = to->dport;
	/* UDP has a way to say that there is no sum, which must neither be lost nor found. */
	if (to->protocol == PROTOCOL_UDP && !*f->check)
		return;
	*f->check = changed_sum(*f->check, all);
	if (to->protocol == PROTOCOL_UDP && !*f->check)
		*f->check = 0xffff;
}

#endif

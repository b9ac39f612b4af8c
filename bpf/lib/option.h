/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The name of a Service inside a packet. With direct server return a packet reaches its backend's
 * node under the client's address, and this IP option says as whom to answer. Here, as in parse.h,
 * IPv4 and IPv6 differ.
 */
#ifndef CILIATE_OPTION_H
#define CILIATE_OPTION_H

#include "addr.h"
#include "parse.h"

enum option_number {
	IPV4_SERVICE_OPTION = 0x9a, /* to be copied into fragments, class 0, number 26 */
	IPV6_SERVICE_OPTION = 0x1b, /* who does not know it skips it, and nobody changes it */
	IPV4_MAX_BYTES = 0xffff,
};

struct ipv4_start {
	__u8 version_ihl;
	__u8 tos;
	__be16 bytes; /* of the packet */
};

struct ipv4_option {
	__u8 type;
	__u8 bytes; /* of the option */
	__be16 port;
	__be32 addr;
};

/* Both change together, and the header's checksum with them. */
struct ipv4_change {
	struct ipv4_start start;
	struct ipv4_option option;
};
_Static_assert(sizeof(struct ipv4_change) == 12, "ipv4_change");

/* What of the IPv6 header names length and kind of what follows. */
struct ipv6_middle {
	__be16 bytes; /* behind the header */
	__u8 next;
	__u8 hops;
};

/* Destination options with a single one inside. */
struct ipv6_option {
	__u8 next;
	__u8 units; /* beyond the first 8 bytes, in units of 8 */
	__u8 type;
	__u8 bytes; /* behind this one */
	__be32 addr[4];
	__be16 port;
	__u8 pad[2];
};
_Static_assert(sizeof(struct ipv6_option) == 24, "ipv6_option");

enum option_layout {
	IPV6_MIDDLE = 4, /* where in the header */
	IPV6_OPTION_UNITS = sizeof(struct ipv6_option) / IPV6_EXTENSION_UNIT - 1,
	IPV6_OPTION_BYTES = sizeof(struct ipv6_option) - offsetof(struct ipv6_option, addr),
};

static __always_inline __u32 option_bytes(const struct packet *pkt)
{
	return pkt->family == AF_INET ? sizeof(struct ipv4_option) : sizeof(struct ipv6_option);
}

/* Our option stands before all others. */
static __always_inline bool load_ipv4_option(struct __sk_buff *skb, const struct packet *pkt,
					     struct ipv4_option *o)
{
	__u32 at = pkt->l3_offset + sizeof(struct iphdr);

	return pkt->l4_offset >= at + sizeof(*o) && !bpf_skb_load_bytes(skb, at, o, sizeof(*o)) &&
	       o->type == IPV4_SERVICE_OPTION;
}

static __always_inline bool load_ipv6_option(struct __sk_buff *skb, const struct packet *pkt,
					     struct ipv6_option *o)
{
	__u32 at = pkt->l3_offset + sizeof(struct ipv6hdr);
	struct ipv6_middle middle;

	return pkt->l4_offset >= at + sizeof(*o) &&
	       !bpf_skb_load_bytes(skb, pkt->l3_offset + IPV6_MIDDLE, &middle, sizeof(middle)) &&
	       middle.next == PROTOCOL_DSTOPTS && !bpf_skb_load_bytes(skb, at, o, sizeof(*o)) &&
	       o->type == IPV6_SERVICE_OPTION;
}

/* Whether the packet names a Service, rightly or not. */
static __always_inline bool has_option(struct __sk_buff *skb, const struct packet *pkt)
{
	struct ipv4_option four;
	struct ipv6_option six;

	return pkt->family == AF_INET ? load_ipv4_option(skb, pkt, &four)
				      : load_ipv6_option(skb, pkt, &six);
}

/* The Service that a packet with an option names. False: the option is broken. */
static __always_inline bool read_option(struct __sk_buff *skb, const struct packet *pkt,
					struct peer *service)
{
	struct ipv4_option four;
	struct ipv6_option six;

	if (pkt->family == AF_INET) {
		if (!load_ipv4_option(skb, pkt, &four) || four.bytes != sizeof(four))
			return false;
		map_ipv4(&service->addr, four.addr);
		service->port = four.port;
		return true;
	}
	if (!load_ipv6_option(skb, pkt, &six) || six.units != IPV6_OPTION_UNITS ||
	    six.bytes != IPV6_OPTION_BYTES)
		return false;
	__builtin_memcpy(&service->addr, six.addr, sizeof(service->addr));
	service->port = six.port;
	return !addr_is_mapped(&service->addr);
}

/* The sum of the whole IPv4 header stays what it was, so that one over the packet stays right too. */
static __always_inline int write_ipv4_option(struct __sk_buff *skb, const struct packet *pkt,
					     const struct ipv4_change *to, __u32 change)
{
	__u32 l3 = pkt->l3_offset;

	if (bpf_skb_store_bytes(skb, l3, &to->start, sizeof(to->start), 0) ||
	    bpf_skb_store_bytes(skb, l3 + sizeof(struct iphdr), &to->option, sizeof(to->option),
				0) ||
	    bpf_l3_csum_replace(skb, l3 + offsetof(struct iphdr, check), 0, change, 0))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

static __always_inline int insert_ipv4_option(struct __sk_buff *skb, const struct packet *pkt,
					      const struct peer *service)
{
	struct ipv4_start old;
	struct ipv4_change new = {};
	__u32 bytes;

	if (bpf_skb_load_bytes(skb, pkt->l3_offset, &old, sizeof(old)))
		return -DROP_WRITE_ERROR;
	bytes = bpf_ntohs(old.bytes) + sizeof(new.option);
	new.start = old;
	new.start.version_ihl += sizeof(new.option) / IPV4_WORD;
	if (bytes > IPV4_MAX_BYTES || new.start.version_ihl >> 4 != old.version_ihl >> 4)
		return -DROP_TOO_BIG;
	new.start.bytes = bpf_htons(bytes);
	new.option.type = IPV4_SERVICE_OPTION;
	new.option.bytes = sizeof(new.option);
	new.option.port = service->port;
	new.option.addr = mapped_ipv4(&service->addr);
	if (bpf_skb_adjust_room(skb, sizeof(new.option), BPF_ADJ_ROOM_NET,
				BPF_F_ADJ_ROOM_FIXED_GSO))
		return -DROP_WRITE_ERROR;
	return write_ipv4_option(
		skb, pkt, &new,
		bpf_csum_diff((__be32 *)&old, sizeof(old), (__be32 *)&new, sizeof(new), 0));
}

static __always_inline int insert_ipv6_option(struct __sk_buff *skb, const struct packet *pkt,
					      const struct peer *service)
{
	__u32 at = pkt->l3_offset + IPV6_MIDDLE;
	struct ipv6_option option = {};
	struct ipv6_middle middle;

	if (bpf_skb_load_bytes(skb, at, &middle, sizeof(middle)))
		return -DROP_WRITE_ERROR;
	/* Nothing may stand before the options for every hop. */
	if (middle.next == PROTOCOL_HOPOPTS)
		return -DROP_INVALID_IPV6_EXTENSION;
	option.next = middle.next;
	option.units = IPV6_OPTION_UNITS;
	option.type = IPV6_SERVICE_OPTION;
	option.bytes = IPV6_OPTION_BYTES;
	__builtin_memcpy(option.addr, &service->addr, sizeof(option.addr));
	option.port = service->port;
	middle.next = PROTOCOL_DSTOPTS;
	middle.bytes = bpf_htons(bpf_ntohs(middle.bytes) + sizeof(option));
	if (bpf_skb_adjust_room(skb, sizeof(option), BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	    bpf_skb_store_bytes(skb, at, &middle, sizeof(middle), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, pkt->l3_offset + sizeof(struct ipv6hdr), &option,
				sizeof(option), BPF_F_RECOMPUTE_CSUM))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

static __always_inline int insert_option(struct __sk_buff *skb, struct packet *pkt,
					 const struct peer *service)
{
	int verdict = pkt->family == AF_INET ? insert_ipv4_option(skb, pkt, service)
					     : insert_ipv6_option(skb, pkt, service);

	pkt->l4_offset += option_bytes(pkt);
	return verdict;
}

/* The option is made zero first, so that the packet's sum does not change with what is taken out. */
static __always_inline int strip_ipv4_option(struct __sk_buff *skb, const struct packet *pkt)
{
	struct ipv4_change old, new = {};
	int verdict;

	if (bpf_skb_load_bytes(skb, pkt->l3_offset, &old.start, sizeof(old.start)) ||
	    bpf_skb_load_bytes(skb, pkt->l3_offset + sizeof(struct iphdr), &old.option,
			       sizeof(old.option)))
		return -DROP_WRITE_ERROR;
	new.start = old.start;
	new.start.version_ihl -= sizeof(old.option) / IPV4_WORD;
	new.start.bytes = bpf_htons(bpf_ntohs(old.start.bytes) - sizeof(old.option));
	verdict = write_ipv4_option(
		skb, pkt, &new,
		bpf_csum_diff((__be32 *)&old, sizeof(old), (__be32 *)&new, sizeof(new), 0));
	if (verdict)
		return verdict;
	return bpf_skb_adjust_room(skb, -(__s32)sizeof(old.option), BPF_ADJ_ROOM_NET,
				   BPF_F_ADJ_ROOM_FIXED_GSO)
		       ? -DROP_WRITE_ERROR
		       : TC_ACT_OK;
}

static __always_inline int strip_ipv6_option(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 at = pkt->l3_offset + IPV6_MIDDLE;
	struct ipv6_middle middle;
	struct ipv6_option option;

	if (bpf_skb_load_bytes(skb, at, &middle, sizeof(middle)) ||
	    bpf_skb_load_bytes(skb, pkt->l3_offset + sizeof(struct ipv6hdr), &option,
			       sizeof(option)))
		return -DROP_WRITE_ERROR;
	middle.next = option.next;
	middle.bytes = bpf_htons(bpf_ntohs(middle.bytes) - sizeof(option));
	if (bpf_skb_store_bytes(skb, at, &middle, sizeof(middle), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_adjust_room(skb, -(__s32)sizeof(option), BPF_ADJ_ROOM_NET,
				BPF_F_ADJ_ROOM_FIXED_GSO))
		return -DROP_WRITE_ERROR;
	return TC_ACT_OK;
}

/* Takes the option out of a packet that has one: it has said what it had to, and pods never see it. */
static __always_inline int strip_option(struct __sk_buff *skb, struct packet *pkt)
{
	pkt->l4_offset -= option_bytes(pkt);
	return pkt->family == AF_INET ? strip_ipv4_option(skb, pkt) : strip_ipv6_option(skb, pkt);
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* VXLAN over IPv4 (RFC 7348) written by our own hand: what the tunnel device would make of a packet,
 * without the device and without the host's stack behind it.
 */
#ifndef CILIATE_VXLAN_H
#define CILIATE_VXLAN_H

#include "config.h"
#include "encap.h"
#include "neighbor.h"

enum vxlan_number {
	VXLAN_HAS_VNI = 0x08000000,
	VXLAN_VNI_SHIFT = 8,
	VXLAN_FIRST_PORT = 49152, /* of the outer source; as many as there are bits below */
	ECN_MASK = 3,
	ECN_ECT0 = 2,
	ECN_CE = 3,
};

/* A frame with one of a pod inside. */
struct vxlan_frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__be32 flags;
	__be32 vni;
	struct ethhdr inner_eth;
	__u8 inner_ip[2];
} __attribute__((packed));

/* By which the tunnel makes an IP packet longer. */
enum vxlan_size {
	VXLAN_OVERHEAD = offsetof(struct vxlan_frame, inner_eth),
};
_Static_assert(VXLAN_OVERHEAD == 50, "vxlan_frame");

/* Ports of the sender tell routers and cards which packets belong together. */
static __always_inline __be16 vxlan_source_port(struct __sk_buff *skb)
{
	__u32 hash = bpf_get_hash_recalc(skb);

	return bpf_htons(VXLAN_FIRST_PORT | (hash ^ hash >> 16));
}

/* Congestion that routers see on the way is told to the inner packet's ends (RFC 6040). */
static __always_inline __u8 outer_ecn(const struct vxlan_frame *f, __be16 ethertype)
{
	__u8 tos = ethertype == bpf_htons(ETH_P_IP) ? f->inner_ip[1] : f->inner_ip[1] >> 4;
	__u8 ecn = tos & ECN_MASK;

	return ecn == ECN_CE ? ECN_ECT0 : ecn;
}

/* The device leaves the sum of the outer UDP out as well, and lets routers cut the packet; for which
 * it needs a number of its own.
 */
static __always_inline void write_outer_ipv4(struct iphdr *ip, __u32 bytes, __u8 ecn,
					     const struct addr *from, const struct addr *to)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	*(__u8 *)ip = IPV4_VERSION_IHL;
	ip->tos = ecn;
	ip->tot_len = bpf_htons(bytes);
	ip->id = bpf_get_prandom_u32();
	ip->ttl = TUNNEL_TTL;
	ip->protocol = PROTOCOL_UDP;
	ip->saddr = mapped_ipv4(from);
	ip->daddr = mapped_ipv4(to);
	ip->check = fold(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
}

/* Makes room for the headers. What the kernel refuses (a tunnel in the tunnel, segments of SCTP) is
 * as it was.
 */
static __always_inline bool widen(struct __sk_buff *skb)
{
	return !bpf_skb_adjust_room(skb, VXLAN_OVERHEAD, BPF_ADJ_ROOM_MAC,
				    BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
					    BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
					    BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |
					    BPF_F_ADJ_ROOM_ENCAP_L2_ETH);
}

/* Fills the room. The outer frame's addresses are the neighbour's, which the kernel writes. */
static __always_inline int write_vxlan(struct __sk_buff *skb, const struct packet *pkt,
				       const struct addr *from, const struct addr *to, __be16 sport)
{
	struct vxlan_frame *f = linear(skb, sizeof(*f));
	__u32 bytes = skb->len - ETH_HLEN;

	if (!f)
		return -DROP_WRITE_ERROR;
	f->inner_eth = f->eth;
	write_outer_ipv4((void *)f + ETH_HLEN, bytes, outer_ecn(f, pkt->ethertype), from, to);
	f->udp.source = sport;
	f->udp.dest = bpf_htons(tunnel_port);
	f->udp.len = bpf_htons(bytes - sizeof(f->ip));
	f->udp.check = 0;
	f->flags = bpf_htonl(VXLAN_HAS_VNI);
	f->vni = bpf_htonl(pkt->identity << VXLAN_VNI_SHIFT);
	return TC_ACT_OK;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Who is behind a device, and what a pod may call itself. */
#ifndef CILIATE_ENDPOINT_H
#define CILIATE_ENDPOINT_H

#include "maps.h"
#include "parse.h"

enum dhcp_port {
	DHCP_SERVER = 67,
	DHCPV6_SERVER = 547,
};

enum icmpv4_type {
	ICMPV4_UNREACHABLE = 3,
	ICMPV4_QUENCH = 4,
	ICMPV4_REDIRECT = 5,
	ICMPV4_ROUTER_ADVERTISEMENT = 9,
	ICMPV4_TIME_EXCEEDED = 11,
	ICMPV4_PARAMETER = 12,
};

static __always_inline const struct endpoint_if *endpoint_of_device(__u32 ifindex)
{
	return bpf_map_lookup_elem(&endpoint_ifs, &ifindex);
}

static __always_inline const struct endpoint *endpoint_of_address(const struct addr *a)
{
	return bpf_map_lookup_elem(&endpoints, a);
}

/* A family that the endpoint does not have is all zero, as "::" is, which nobody may use. */
static __always_inline bool endpoint_has(const struct endpoint_if *ep, const struct addr *a)
{
	if (addr_is_zero(a))
		return false;
	return addr_equal(a, &ep->addr4) || addr_equal(a, &ep->addr6);
}

/* What a pod may send at all, whoever it is for. */
static __always_inline int check_sender(const struct packet *pkt, const struct endpoint_if *ep)
{
	if (!endpoint_has(ep, &pkt->saddr))
		return -DROP_INVALID_SOURCE_IP;
	if (pkt->protocol == PROTOCOL_UDP &&
	    pkt->sport == bpf_htons(pkt->family == AF_INET ? DHCP_SERVER : DHCPV6_SERVER))
		return -DROP_DHCP_SERVER;
	if (is_multicast(pkt))
		return -DROP_MULTICAST;
	if (!mac_equal(pkt->dmac, ep->host_mac))
		return -DROP_INVALID_DESTINATION_MAC;
	if (pkt->family == AF_INET && pkt->protocol == PROTOCOL_ICMP &&
	    (pkt->icmp_type == ICMPV4_REDIRECT || pkt->icmp_type == ICMPV4_ROUTER_ADVERTISEMENT))
		return -DROP_FORBIDDEN_ICMPV4;
	return TC_ACT_OK;
}

#endif

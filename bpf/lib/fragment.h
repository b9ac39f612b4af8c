/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Only the first fragment of a datagram has its ports; the others get them from here. */
#ifndef CILIATE_FRAGMENT_H
#define CILIATE_FRAGMENT_H

#include "maps.h"

static __always_inline int remember_ports(struct packet *pkt)
{
	struct fragment_key key = {
		.saddr = pkt->saddr,
		.daddr = pkt->daddr,
		.id = pkt->fragment_id,
		.protocol = pkt->fragment_protocol,
	};
	struct fragment_ports ports = {
		.sport = pkt->sport,
		.dport = pkt->dport,
		.protocol = pkt->protocol,
	};
	const struct fragment_ports *known;

	if (pkt->fragment == FRAGMENT_FIRST) {
		if (bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY))
			return -DROP_FRAGMENT_NOT_FOUND;
		return TC_ACT_OK;
	}
	known = bpf_map_lookup_elem(&fragments, &key);
	if (!known)
		return -DROP_FRAGMENT_NOT_FOUND;
	pkt->sport = known->sport;
	pkt->dport = known->dport;
	pkt->protocol = known->protocol;
	return TC_ACT_OK;
}

/* Called once the sender is known to be who he says, so that nobody writes another's ports. */
static __always_inline int fragment_ports(struct packet *pkt)
{
	return pkt->fragment == FRAGMENT_NONE ? TC_ACT_OK : remember_ports(pkt);
}

#endif

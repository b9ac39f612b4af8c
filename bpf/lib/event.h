/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The one exit of every program, and its entrance. Whatever is counted or told about a packet is so
 * from here.
 */
#ifndef CILIATE_EVENT_H
#define CILIATE_EVENT_H

#include "maps.h"

enum metric_row {
	METRIC_DIRECTION_SHIFT = 8, /* the reason is below it */
};

/* The scratch packet, empty. NULL is only for the verifier. */
static __always_inline struct packet *begin(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct packet *pkt = bpf_map_lookup_elem(&scratch, &zero);

	if (!pkt)
		return NULL;
	__builtin_memset(pkt, 0, sizeof(*pkt));
	pkt->bytes = skb->len;
	return pkt;
}

static __always_inline void count(__u32 bytes, enum direction direction, __u8 reason)
{
	__u32 row = (direction - DIRECTION_INGRESS) << METRIC_DIRECTION_SHIFT | reason;
	struct metric *m = bpf_map_lookup_elem(&metrics, &row);

	if (!m)
		return;
	m->packets++;
	m->bytes += bytes;
}

/* Turns a verdict into a TC action. A drop counts in the direction of the program; a forwarded
 * packet as what it was to pods: one that a pod sent, one that a pod gets, both, or (the host's
 * own, or judged elsewhere) neither, unless it was answered.
 */
static __always_inline int finish(const struct packet *pkt, int verdict, enum direction direction)
{
	if (verdict < 0) {
		count(pkt->bytes, direction, -verdict);
		return TC_ACT_SHOT;
	}
	if (pkt->reason && !pkt->from_pod && !pkt->to_pod)
		count(pkt->bytes, direction, pkt->reason);
	if (pkt->from_pod)
		count(pkt->bytes, DIRECTION_EGRESS, pkt->reason);
	if (pkt->to_pod)
		count(pkt->bytes, DIRECTION_INGRESS, pkt->reason);
	return verdict;
}

#endif

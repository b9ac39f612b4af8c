/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Comparing and copying addresses and MACs. */
#ifndef CILIATE_ADDR_H
#define CILIATE_ADDR_H

#include "types.h"

enum addr_layout {
	MAPPED_START = 12, /* where in 16 bytes an IPv4 address stands */
	LOOPBACK_NET = 127,
};

static __always_inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

static __always_inline bool addr_is_zero(const struct addr *a)
{
	const __u64 *x = (const __u64 *)a;

	return !x[0] && !x[1];
}

static __always_inline bool addr_is_mapped(const struct addr *a)
{
	return !*(const __u64 *)a && *(const __u32 *)&a->b[8] == bpf_htonl(0xffff);
}

static __always_inline bool addr_is_loopback(const struct addr *a)
{
	const __u64 *x = (const __u64 *)a;

	if (addr_is_mapped(a))
		return a->b[MAPPED_START] == LOOPBACK_NET;
	return !x[0] && x[1] == bpf_cpu_to_be64(1);
}

static __always_inline bool addr_is_link_local(const struct addr *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static __always_inline bool mac_equal(const __u8 *a, const __u8 *b)
{
	const __be16 *x = (const __be16 *)a, *y = (const __be16 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	__be16 *x = (__be16 *)to;
	const __be16 *y = (const __be16 *)from;

	x[0] = y[0];
	x[1] = y[1];
	x[2] = y[2];
}

static __always_inline void map_ipv4(struct addr *to, __be32 from)
{
	__u64 *x = (__u64 *)to;

	/* Two stores, because two are what is read: the processor waits for a read across several. */
	x[0] = 0;
	x[1] = bpf_cpu_to_be64(0xffff00000000 | bpf_ntohl(from));
}

static __always_inline __be32 mapped_ipv4(const struct addr *a)
{
	return *(const __u32 *)&a->b[MAPPED_START];
}

#endif

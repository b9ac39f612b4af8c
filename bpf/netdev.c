/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

#include "lib/config.h"
#include "lib/maps.h"

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";

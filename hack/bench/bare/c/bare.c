/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* The least that programs can do to take packets of a pod to another one, of its node or of another
 * node: no look at the packet, one destination, no policy, no counting. What Ciliate's programs are
 * measured against.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

volatile const __u32 tunnel_ifindex; /* the VXLAN device of this node */
volatile const __u32 pod_ifindex; /* the host side of the only pod to reach */
volatile const __u32 remote_ipv4; /* the other node, in host order */

/* Ingress of the pod's host side. */
SEC("tc")
int into_tunnel(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = { .tunnel_id = 1,
				      .tunnel_ttl = 64,
				      .remote_ipv4 = remote_ipv4 };

	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX))
		return TC_ACT_SHOT;
	return bpf_redirect(tunnel_ifindex, 0);
}

/* Ingress of the VXLAN device, or of the host side of the node's other pod. */
SEC("tc")
int into_pod(struct __sk_buff *skb)
{
	return bpf_redirect_peer(pod_ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Every map. All but scratch and scratch_nat are pinned by their name, so that a restarted agent finds them. */
#ifndef CILIATE_MAPS_H
#define CILIATE_MAPS_H

#include "types.h"

/* Address -> where the pod with it is. Written by the agent; read by all programs that deliver. A
 * node runs some hundreds of pods with two addresses each. Full: the agent's ADD fails and says so;
 * nothing is evicted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct addr);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

/* Host-side device -> who the pod behind it is. Written by the agent; read by from_pod and to_pod.
 * A device without an entry neither sends nor receives. One for each pod, hence half of endpoints.
 * Full: as endpoints.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct endpoint_if);
} endpoint_ifs SEC(".maps");

/* Full address -> whose it is and on which node. Written by the agent from all endpoints and nodes
 * of the cluster; read by all programs. Sized for 100,000 pods with two addresses. Full: the agent
 * reports pressure; an address that found no place is what its range in ipcache_cidrs says, and so
 * never "world" when it lies in a pod range.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct addr);
	__type(value, struct ipcache_entry);
} ipcache SEC(".maps");

/* Range -> whose it is, asked when ipcache does not know. Written by the agent: pod ranges of all
 * nodes, and always ::/0 and ::ffff:0:0/96, the two worlds. Sized for 5,000 nodes with two ranges,
 * and CIDRs of policies. Full: as ipcache.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cidr_key);
	__type(value, struct ipcache_entry);
} ipcache_cidrs SEC(".maps");

/* Identity -> 1. Written by the agent; read by from_overlay, which drops what no cluster member can
 * be. The whole range of allocated identities fits.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} identities SEC(".maps");

/* Datagram -> its ports, for the fragments after the first. Written and read by the programs. Full:
 * the least recently used goes, and the rest of that datagram is dropped (FRAGMENT_NOT_FOUND).
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} fragments SEC(".maps");

/* Tuple of a packet that is translated -> its connection, for TCP. Written and read by the programs;
 * swept by the agent through collect. Two entries a connection, one each way, of 230 bytes with
 * what the kernel adds. Full: the least recently used goes, and is made again by its other half if
 * that one is left.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct tuple);
	__type(value, struct connection);
} conntrack_tcp SEC(".maps");

/* The same for all other protocols, apart from TCP so that a flood of UDP evicts no connection. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tuple);
	__type(value, struct connection);
} conntrack_other SEC(".maps");

/* Device -> the addresses that pods' packets get when they leave by it. Written by the agent; read
 * by from_pod and to_netdev. A device without an entry is no card of ours: what leaves by it crosses
 * the stack and keeps its address. A node has some cards, and a bridge for each virtual network.
 * Full: the agent fails and says so.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct card);
} cards SEC(".maps");

/* Card -> its MAC: from_wire forwards what comes in by it, and by it what came in by another. Written
 * by the agent, with the cards whose drivers can do both; read by from_wire, which without an entry
 * leaves all to from_netdev. A node has some cards. Full: the agent fails and says so.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct wire);
} wires SEC(".maps");

/* (direction - 1) << 8 | reason -> packets and bytes. Written by finish(); read by the agent. Holds
 * every possible key.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 512);
	__type(key, __u32);
	__type(value, struct metric);
} metrics SEC(".maps");

/* 0 -> this node. Written by the agent; read by the programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node_config);
} node SEC(".maps");

/* Address, port and protocol of a Service -> its number and how many backends it has. Written by the
 * agent; read by the socket programs. Sized for 10,000 Services of three ports in two families, and
 * some node ports. Full: the agent leaves further Services out and names them.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct frontend_key);
	__type(value, struct frontend);
} frontends SEC(".maps");

/* Number of a Service and slot -> backend. Written by the agent; read by the socket programs. Sized
 * for 10,000 Services with 10 backends in two families. Full: a Service gets fewer backends than it
 * has, and the agent names it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_key);
	__type(value, struct peer);
} backends SEC(".maps");

/* Number of a Service that wants it -> its Maglev table, in an array of one. Written by the agent;
 * read where packets choose a backend. A map in the map, so that a table is replaced as a whole: what
 * a program has looked up stays as it was. One table takes 36 kB, so only Services that are asked from
 * outside have one, and only with two backends or more. Sized for more than all node ports in both
 * families (300 MB then). Full: the Service's packets choose at random, and the agent names it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_ARRAY);
			__uint(max_entries, 1);
			/* Sizes: clang forgets what is in a type that is named here alone. */
			__uint(key_size, sizeof(__u32));
			__uint(value_size, sizeof(struct maglev_table));
		});
} maglev SEC(".maps");

/* Number of a guarded Service and range of addresses -> 1: its clients from outside. Written by the
 * agent; read by from_netdev. Few Services say who may use them. Full: the agent fails and says so;
 * who is not in the map is refused.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_range_key);
	__type(value, __u32);
} source_ranges SEC(".maps");

/* 0 -> 1 once this node has led a packet from outside to a process of its own: its answers must be
 * looked at from then on. Written and read by the programs at the cards.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} host_serves SEC(".maps");

/* Socket and its backend -> the frontend that it asked for. Written and read by the socket programs;
 * the agent reads which sockets came by a Service. Full: the least recently used goes; that socket
 * then sees the backend's address as its peer's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct reverse_key);
	__type(value, struct peer);
} reverse SEC(".maps");

/* Client and Service -> the backend it keeps. Written and read by the socket programs. Full: the
 * client that was quiet for longest gets a new backend.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinities SEC(".maps");

/* Address of a Service and card -> the MAC that this node answers with. Written by the agent while
 * it holds the Service's Lease, each time for some seconds, so that a dead agent's node falls
 * silent; read by from_netdev. Sized for 4,000 Services with two addresses on two cards. Full: the
 * agent says so, and the addresses that found no place are not answered for.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct announcement_key);
	__type(value, struct announcement);
} announcements SEC(".maps");

/* 0 -> the packet at hand, for the run of one program. Never pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} scratch SEC(".maps");

/* 0 -> what the packet at hand is translated to, for the run of one program. Never pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct translation);
} scratch_nat SEC(".maps");

#endif

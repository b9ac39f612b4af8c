/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copyright Authors of Ciliate */

/* Every struct and number that C and Go share. Go's side is generated from this file. */
#ifndef CILIATE_TYPES_H
#define CILIATE_TYPES_H

#include "prelude.h"

/* An IPv6 address, or an IPv4 address mapped into ::ffff:0:0/96; network byte order. */
struct addr {
	__u8 b[16];
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct addr) == 16, "addr");

/* Identities below 256 have a meaning of their own. */
enum reserved_identity {
	IDENTITY_UNKNOWN = 0,
	IDENTITY_HOST = 1,
	IDENTITY_WORLD = 2,
	IDENTITY_UNMANAGED = 3,
	IDENTITY_HEALTH = 4,
	IDENTITY_INIT = 5,
	IDENTITY_REMOTE_NODE = 6,
	IDENTITY_KUBE_APISERVER = 7,
	IDENTITY_INGRESS = 8,
	IDENTITY_WORLD_IPV4 = 9,
	IDENTITY_WORLD_IPV6 = 10,
	IDENTITY_FIRST_ALLOCATED = 256,
	/* CIDR identities are of one node alone: this bit is set in them. */
	IDENTITY_CIDR_BIT = 1 << 24,
};

/* Seen from the pod: numbers equal Hubble's TrafficDirection. */
enum direction {
	DIRECTION_INGRESS = 1,
	DIRECTION_EGRESS = 2,
};

/* Why a packet was dropped. Numbers up to 203 equal Hubble's flow.DropReason, those above 220 are
 * our own. The sentence above each becomes docs/reference/drop-reasons.md; `make generate` after a
 * change.
 */
enum drop_reason {
	/* Not dropped. */
	FORWARDED = 0,
	/* Not dropped, and led on from card to card before the kernel's network stack saw it (XDP). */
	ACCELERATED = 1,
	/* A pod sent a frame with a source MAC other than its own. */
	DROP_INVALID_SOURCE_MAC = 130,
	/* A pod sent a frame to a MAC other than its gateway's. */
	DROP_INVALID_DESTINATION_MAC = 131,
	/* The source address is not one that the sender may use. */
	DROP_INVALID_SOURCE_IP = 132,
	/* A header is cut short or contradicts itself. */
	DROP_INVALID_PACKET = 134,
	/* The ethertype is neither IPv4, IPv6 nor ARP. */
	DROP_UNSUPPORTED_L3_PROTOCOL = 139,
	/* The kernel refused to change the packet. */
	DROP_WRITE_ERROR = 141,
	/* A packet on the tunnel device came without tunnel metadata. */
	DROP_NO_TUNNEL_KEY = 147,
	/* Nothing at all is known of the destination: the agent has not filled its table yet. */
	DROP_UNKNOWN_TARGET = 150,
	/* The destination lies in a range of this node's pods, and no pod has it. */
	DROP_STALE_OR_UNROUTABLE_IP = 151,
	/* What came through the tunnel is for no pod and no address of this node. */
	DROP_NO_LOCAL_POD = 152,
	/* The table of connections took no entry. */
	DROP_NO_CONNECTION = 155,
	/* The chain of IPv6 extension headers is too long or broken. */
	DROP_INVALID_IPV6_EXTENSION = 156,
	/* A Service has no backend on this node, and wants no other for its clients outside. */
	DROP_NO_BACKEND = 158,
	/* No node is known for the destination, or there is no tunnel device. */
	DROP_NO_TUNNEL_ENDPOINT = 160,
	/* No address or port of the node was free to stand for the pod's. */
	DROP_NAT_NO_MAPPING = 167,
	/* The host's routes refuse the destination. */
	DROP_FIB_LOOKUP_FAILED = 169,
	/* A pod sent UDP to the tunnel port: it could forge an identity. */
	DROP_ENCAP_PROHIBITED = 170,
	/* The identity in the tunnel is not one that this node knows. */
	DROP_INVALID_IDENTITY = 171,
	/* The sender is not where its address says it is. */
	DROP_UNKNOWN_SENDER = 172,
	/* A later fragment came before the first one, or long after it. */
	DROP_FRAGMENT_NOT_FOUND = 175,
	/* A pod sent a router advertisement or an ICMPv6 redirect. */
	DROP_FORBIDDEN_ICMPV6 = 176,
	/* The load balancer of the Service is not for this client. */
	DROP_SOURCE_RANGE = 177,
	/* The frame carries a VLAN tag. */
	DROP_VLAN_FILTERED = 182,
	/* The tunnel carries a reserved identity that no node may send. */
	DROP_INVALID_VNI = 183,
	/* The packet has no hop left. */
	DROP_TTL_EXCEEDED = 196,
	/* The device has no endpoint yet, or no longer. */
	DROP_ENDPOINT_NOT_READY = 203,
	/* What kernels say unasked: MLD, router solicitation, address detection, gratuitous ARP. */
	DROP_NOISE = 221,
	/* A pod asked for the MAC of another address than its gateway's. */
	DROP_NEIGHBOR = 222,
	/* Multicast or broadcast. */
	DROP_MULTICAST = 223,
	/* A pod answered as a DHCP server. */
	DROP_DHCP_SERVER = 224,
	/* A pod sent an ICMP redirect or router advertisement. */
	DROP_FORBIDDEN_ICMPV4 = 225,
	/* An IPv6 packet carries an IPv4-mapped address. */
	DROP_MAPPED_ADDRESS = 226,
	/* No endpoint is known for an address in a node's pod range (native routing). */
	DROP_UNKNOWN_POD = 227,
	/* The inner source address is not one of the node that sent the packet. */
	DROP_TUNNEL_SOURCE = 228,
	/* Larger than the path takes; the sender was told by ICMP. */
	DROP_TOO_BIG = 229,
	/* The Service has no backend; the client was told by ICMP. */
	DROP_REFUSED = 230,
	/* A packet names a Service as direct server return does, but no pod or node may, or not this Service. */
	DROP_SERVICE_OPTION = 231,
	/* No reason: the end of the numbers. */
	DROP_REASON_MAX = 255,
};

/* Where a pod is: looked up by its address. */
struct endpoint {
	__u32 ifindex; /* host-side device */
	__u32 identity;
	__u16 id;
	__u8 mac[ETH_ALEN]; /* of the pod */
	__u8 host_mac[ETH_ALEN]; /* of the host-side device */
	__u8 pad[2];
	__u32 generation; /* another for each pod that gets the address; never 0 */
};
_Static_assert(sizeof(struct endpoint) == 28, "endpoint");

/* Who a pod is: looked up by the host-side device. Addresses it does not have are all zero. */
struct endpoint_if {
	struct addr addr4;
	struct addr addr6;
	struct addr gateway4;
	struct addr gateway6;
	__u32 identity;
	__u16 id;
	__u8 mac[ETH_ALEN];
	__u8 host_mac[ETH_ALEN];
	__u8 pad[6];
};
_Static_assert(sizeof(struct endpoint_if) == 88, "endpoint_if");

/* Whose an address is, and on which node. */
struct ipcache_entry {
	/* Underlay address; all zero for this node and for what is no pod or node. */
	struct addr node;
	__u32 identity; /* 0: a range of pods, of whose addresses nothing is known */
	__u8 pad[4];
};
_Static_assert(sizeof(struct ipcache_entry) == 24, "ipcache_entry");

/* No struct addr inside: a trie's bits follow the length without a gap. */
struct cidr_key {
	__u32 prefix_len; /* bits, of 128 */
	__u8 addr[16];
};
_Static_assert(sizeof(struct cidr_key) == 20, "cidr_key");

struct fragment_key {
	struct addr saddr;
	struct addr daddr;
	__be32 id;
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct fragment_key) == 40, "fragment_key");

struct fragment_ports {
	__be16 sport;
	__be16 dport;
	__u8 protocol; /* behind IPv6 extension headers that only the first fragment has */
	__u8 reserved[3];
};
_Static_assert(sizeof(struct fragment_ports) == 8, "fragment_ports");

struct metric {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct metric) == 16, "metric");

/* Which part of a datagram a packet is. */
enum fragment {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST = 1,
	FRAGMENT_LATER = 2,
};

/* A packet on its way through one program. It lies in the scratch map, because the stack is short;
 * Go never sees it.
 */
struct packet {
	struct addr saddr;
	struct addr daddr;
	__u32 identity; /* of the source */
	__u32 bytes; /* of the frame as it came */
	__be32 fragment_id;
	__be16 ethertype;
	__be16 sport; /* 0 where the protocol has no ports */
	__be16 dport;
	__u16 l4_offset; /* from the frame's start */
	__u8 smac[ETH_ALEN];
	__u8 dmac[ETH_ALEN];
	__u8 family; /* AF_INET, AF_INET6, or 0 for ARP */
	__u8 protocol; /* behind all IPv6 extension headers */
	__u8 fragment_protocol; /* as all fragments of a datagram name it */
	__u8 fragment; /* enum fragment */
	__u8 ttl;
	__u8 icmp_type; /* of ICMP and ICMPv6 */
	__u8 dont_fragment; /* always 1 for IPv6 */
	__u8 reason; /* what a forwarded packet counts as */
	__u8 from_pod; /* counts as egress when it is forwarded */
	__u8 to_pod; /* counts as ingress when it is forwarded */
	__u16 l3_offset; /* from the frame's start; 0 on a device without MAC addresses */
};
_Static_assert(sizeof(struct packet) == 80, "packet");

/* Both ends of a conversation, as one packet names them. */
struct tuple {
	struct addr saddr;
	struct addr daddr;
	__be16 sport; /* 0 where the protocol has no ports; an echo request has its id here, */
	__be16 dport; /* and a reply here */
	__u8 protocol;
	__u8 kind; /* enum connection_kind */
	__u8 pad[2];
};
_Static_assert(sizeof(struct tuple) == 40, "tuple");

/* What is remembered under a tuple. */
enum connection_kind {
	CONNECTION_TRANSLATED = 1,
};

/* Bits of what was seen of one direction. */
enum seen {
	SEEN_SYN = 1,
	SEEN_FIN = 2,
	SEEN_RST = 4,
	SEEN_DATA = 8, /* anything but SYN, FIN and RST; anything at all of other protocols */
};

enum connection_flag {
	CONNECTION_DSR = 1, /* the backend answers past this node, which sees one direction only */
};

/* One direction of a conversation. The other one is found under the reverse of becomes. */
struct connection {
	struct tuple becomes; /* what the packet is on the other side of the translation */
	__u64 expires; /* nanoseconds since boot */
	__u32 generation; /* of the pod of this node that takes part; 0: none does */
	__u8 seen; /* enum seen */
	__u8 flags; /* enum connection_flag */
	__u8 reserved[26]; /* for what policy and Hubble will keep */
};
_Static_assert(sizeof(struct connection) == 80, "connection");

/* The packet that an ICMP error is about. */
struct quoted {
	struct tuple t; /* as it stands there */
	__u32 l3_offset; /* from the frame's start */
	__u32 l4_offset;
	__u32 echo; /* 1: it has an id and no ports */
	__u8 pad[4];
};
_Static_assert(sizeof(struct quoted) == 56, "quoted");

/* What translating a packet needs beside it, for the run of one program; Go never sees it. */
struct translation {
	struct tuple from; /* the packet as it came */
	struct tuple becomes; /* of a new connection, its source port is a wish */
	struct tuple back; /* of a reply */
	struct connection entry; /* one that is being written */
	struct quoted quoted;
	__u32 generation; /* of a new connection, as in struct connection */
	__u32 source_is_node; /* 1: of a new connection; the node's sockets have a say in its port */
	__u32 dsr; /* 1: a connection with CONNECTION_DSR */
	__u8 pad[4];
};
_Static_assert(sizeof(struct translation) == 272, "translation");

/* A device by which packets leave for what is neither pod nor tunnel. */
struct card {
	struct addr addr4; /* the address that pods' packets get; all zero: there is none */
	struct addr addr6;
	__u8 masquerades; /* 0: pods' packets keep their own addresses */
	__u8 direct; /* 1: between it and pods packets pass the host's stack by, both ways */
	__u8 pad[6];
};
_Static_assert(sizeof(struct card) == 40, "card");

/* A card that forwards by XDP. */
struct wire {
	__u8 mac[ETH_ALEN]; /* frames for others are not ours */
	__u8 pad[2];
};
_Static_assert(sizeof(struct wire) == 8, "wire");

/* One end of a conversation, as a socket names it. */
struct peer {
	struct addr addr;
	__be16 port;
	__u8 pad[6];
};
_Static_assert(sizeof(struct peer) == 24, "peer");

/* Who asks for a Service. */
enum scope {
	SCOPE_NODE = 0, /* a socket of the node, or a pod of it */
	SCOPE_WORLD = 1, /* a packet that comes in by a card */
};

/* Where clients find a Service: an address, a port and a protocol. */
struct frontend_key {
	struct addr addr;
	__be16 port;
	__u8 protocol;
	__u8 scope; /* enum scope */
	__u8 pad[4];
};
_Static_assert(sizeof(struct frontend_key) == 24, "frontend_key");

/* What stands behind a frontend. Frontends with the same backends share one number. */
struct frontend {
	__u32 id;
	__u32 count; /* of backends, in slots 0 to count - 1; 0: connections are refused */
	__u32 affinity_seconds; /* how long a client keeps its backend; 0: not at all */
	__u8 flags; /* enum frontend_flag */
	__u8 pad[3];
};
_Static_assert(sizeof(struct frontend) == 16, "frontend");

enum frontend_flag {
	FRONTEND_LOCAL = 1, /* backends are of this node, so that clients keep their addresses */
	FRONTEND_GUARDED = 2, /* only for clients in source_ranges */
	FRONTEND_MAGLEV = 4, /* packets choose by the number's table in maglev */
	FRONTEND_NODE_PORT = 8, /* processes of the node cannot have the port */
};

/* How many positions a Maglev table has: a prime. */
enum maglev_size {
	MAGLEV_SIZE = 16381,
};

/* Which backend the packets of one conversation choose, whatever node they come to. */
struct maglev_table {
	__u64 sum; /* of the backends in their slots, of which the table is made; for the agent */
	__u16 slots[MAGLEV_SIZE]; /* as in struct backend_key */
	__u8 pad[6];
};
_Static_assert(sizeof(struct maglev_table) == 32776, "maglev_table");

/* Of a guarded frontend. No struct addr inside, as in cidr_key. */
struct source_range_key {
	__u32 prefix_len; /* bits, of 160 */
	__u32 id; /* as in struct frontend */
	__u8 addr[16];
};
_Static_assert(sizeof(struct source_range_key) == 24, "source_range_key");

struct backend_key {
	__u32 id; /* as in struct frontend */
	__u32 slot;
};
_Static_assert(sizeof(struct backend_key) == 8, "backend_key");

/* A socket and the backend it talks to. */
struct reverse_key {
	__u64 socket; /* cookie */
	struct peer backend;
};
_Static_assert(sizeof(struct reverse_key) == 32, "reverse_key");

struct affinity_key {
	struct addr client; /* or, in its first half, the cookie of a network namespace */
	__u32 id; /* as in struct frontend */
	__u8 pad[4];
};
_Static_assert(sizeof(struct affinity_key) == 24, "affinity_key");

struct affinity {
	struct peer backend;
	__u64 used; /* nanoseconds since boot */
	__u8 reserved[8];
};
_Static_assert(sizeof(struct affinity) == 40, "affinity");

/* An address of a Service on the link of a card. */
struct announcement_key {
	struct addr addr;
	__u32 ifindex;
	__u8 pad[4];
};
_Static_assert(sizeof(struct announcement_key) == 24, "announcement_key");

/* The answer to who asks for it there. */
struct announcement {
	__u64 until; /* nanoseconds since boot, suspended or not; from then on there is no answer */
	__u8 mac[ETH_ALEN];
	__u8 pad[2];
};
_Static_assert(sizeof(struct announcement) == 16, "announcement");

/* What may change while the agent runs. */
struct node_config {
	struct addr underlay4; /* outer source address; all zero: the kernel chooses */
	struct addr underlay6;
	struct addr router4;
	struct addr router6;
	__u32 tunnel_ifindex; /* 0: none */
	__u32 mtu; /* bytes of an IP packet between pods of different nodes; 0: not checked */
	__u16 nat_first; /* ports that stand for pods', host byte order; clear of those that the */
	__u16 nat_last; /* kernel gives to sockets, and of node ports */
	__u8 encapsulates; /* 1: programs write tunnel frames; 0: all go through the device */
	__u8 pad[3];
};
_Static_assert(sizeof(struct node_config) == 80, "node_config");

#endif

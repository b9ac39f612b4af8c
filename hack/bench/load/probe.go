// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package load

import (
	"errors"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// patience is how long a probe waits for an answer, in milliseconds: one that is on its way comes sooner.
const patience = 50

// Listening does f while the server accepts every connection and drops it. The path must have a port.
func (p Path) Listening(f func() error) error {
	var listener socket
	if err := p.Server.OnThread(func() (err error) {
		listener, _, err = listen(netip.AddrPortFrom(p.Server.Addr, p.Port))
		return err
	}); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- p.Server.OnThread(func() error { return dropAll(listener) })
	}()
	err := f()
	// Nothing else wakes a thread that accepts.
	return errors.Join(err, os.NewSyscallError("shutdown", unix.Shutdown(int(listener), unix.SHUT_RD)), <-ended, listener.close())
}

// dropAll accepts until the listener is shut down. Unlike who is measured, it tells Go's scheduler that it waits: it may wait
// for long, and a garbage collection with it.
func dropAll(listener socket) error {
	for {
		c, _, err := unix.Accept4(int(listener), unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINVAL):
			return nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR): // nobody came for a while
			continue
		case err != nil:
			return os.NewSyscallError("accept", err)
		}
		if err := unix.Close(c); err != nil {
			return os.NewSyscallError("close", err)
		}
	}
}

// Answer is what comes of an attempt to connect.
type Answer string

// Silence says nothing of who is there: a packet may have been lost, or nobody leads it on.
const (
	Accepted Answer = "accepted"
	Refused  Answer = "refused"
	Silence  Answer = "silence"
)

// Try tells what a connection of the client comes to now.
func (p Path) Try() (answer Answer, err error) {
	return answer, p.Client.OnThread(func() error {
		s, err := newTCP()
		if err != nil {
			return err
		}
		answer, err = s.tryConnect(p.to(p.Port))
		return errors.Join(err, s.close())
	})
}

// tryConnect is connect for whom no connection is no error.
func (s socket) tryConnect(to netip.AddrPort) (Answer, error) {
	if err := unix.SetNonblock(int(s), true); err != nil {
		return "", os.NewSyscallError("set nonblock", err)
	}
	err := s.connect(to)
	if errors.Is(err, unix.EINPROGRESS) {
		err = s.connected()
	}
	switch {
	case err == nil:
		return Accepted, nil
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return Refused, nil
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, unix.EINTR): // a signal ends the waiting early, and the next try comes soon
		return Silence, nil
	}
	return "", err
}

// connected waits for what becomes of a connection that is under way.
func (s socket) connected() error {
	ready := []unix.PollFd{{Fd: int32(s), Events: unix.POLLOUT}}
	n, err := unix.Poll(ready, patience)
	if err != nil {
		return os.NewSyscallError("poll", err)
	}
	if n == 0 {
		return unix.ETIMEDOUT
	}
	code, err := unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if code != 0 {
		return os.NewSyscallError("connect", syscall.Errno(code))
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// End is one end of a path: a network namespace and its address there.
type End struct {
	Netns netns.NsHandle
	Addr  netip.Addr
}

// silence is how long a socket waits for the other side, in seconds.
const silence = 2

// OnThread runs f in the namespace, on a thread that is thrown away.
func (e End) OnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := netns.Set(e.Netns); err != nil {
			done <- fmt.Errorf("enter the network namespace of %s: %w", e.Addr, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// socket is a blocking socket. Its calls hide from Go's scheduler that they block.
type socket int

func newSocket(kind, protocol int) (socket, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	limit := unix.Timeval{Sec: silence}
	return socket(fd), errors.Join(
		os.NewSyscallError("receive timeout", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)),
		os.NewSyscallError("send timeout", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)))
}

func newTCP() (socket, error) {
	s, err := newSocket(unix.SOCK_STREAM, 0)
	if err != nil {
		return s, err
	}
	return s, errors.Join(
		os.NewSyscallError("choose cubic", unix.SetsockoptString(int(s), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")),
		os.NewSyscallError("no delay", unix.SetsockoptInt(int(s), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)))
}

// listen opens a listening socket, and returns its port, which is the kernel's choice if at has none.
func listen(at netip.AddrPort) (socket, uint16, error) {
	s, err := newTCP()
	if err != nil {
		return s, 0, err
	}
	// Connections of an earlier socket on that port may still wait for their time.
	if err := unix.SetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return s, 0, os.NewSyscallError("reuse address", err)
	}
	if err := unix.Bind(int(s), &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
		return s, 0, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(int(s), 128); err != nil {
		return s, 0, os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(int(s))
	if err != nil {
		return s, 0, os.NewSyscallError("getsockname", err)
	}
	return s, uint16(name.(*unix.SockaddrInet4).Port), nil
}

// dial connects to an address. It says errLost when nobody answers.
func dial(to netip.AddrPort) (socket, error) {
	s, err := newTCP()
	if err != nil {
		return s, err
	}
	err = s.connect(to)
	if errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.ETIMEDOUT) {
		err = errLost
	}
	return s, err
}

func (s socket) connect(to netip.AddrPort) error {
	name := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	port[0], port[1] = byte(to.Port()>>8), byte(to.Port())
	_, err := s.call(unix.SYS_CONNECT, unsafe.Pointer(&name), unsafe.Sizeof(name))
	return os.NewSyscallError("connect", err)
}

func (s socket) accept() (socket, error) {
	fd, err := s.call(unix.SYS_ACCEPT4, nil, 0)
	return socket(fd), os.NewSyscallError("accept", err)
}

func (s socket) read(b []byte) (int, error) {
	n, err := s.call(unix.SYS_READ, unsafe.Pointer(&b[0]), uintptr(len(b)))
	return n, os.NewSyscallError("read", err)
}

func (s socket) write(b []byte) error {
	_, err := s.call(unix.SYS_WRITE, unsafe.Pointer(&b[0]), uintptr(len(b)))
	return os.NewSyscallError("write", err)
}

// call is a system call on the socket, begun again when a signal ends it. RawSyscall does not tell the scheduler: the
// thread is its own, and telling would cost more than the call.
func (s socket) call(number uintptr, p unsafe.Pointer, n uintptr) (int, error) {
	for {
		r, _, errno := syscall.RawSyscall6(number, uintptr(s), uintptr(p), n, 0, 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case syscall.EINTR:
		default:
			return -1, errno
		}
	}
}

func (s socket) close() error { return os.NewSyscallError("close", unix.Close(int(s))) }

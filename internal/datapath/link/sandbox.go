// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

const (
	nsfsMagic     = 0x6e736673 // NSFS_MAGIC of linux/magic.h
	loopbackIndex = 1          // the kernel gives it to lo in each namespace
	ownNetns      = "/proc/thread-self/ns/net"
)

// sandbox is an open network namespace of a pod. Holding the file keeps the namespace alive.
type sandbox struct {
	file    *os.File
	nl      *netlink.Handle
	sysctls Sysctls
}

// openSandbox opens a network namespace after checking that it is one, and that it is not our own.
func (l *Links) openSandbox(path string) (*sandbox, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", path, datapath.ErrSandboxGone)
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	if err := checkNetns(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	nl, err := netlink.NewHandleAt(netns.NsHandle(file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink socket in %s: %w", path, err), file.Close())
	}
	return &sandbox{file: file, nl: nl, sysctls: l.sysctls}, nil
}

func (s *sandbox) close() {
	s.nl.Close()
	_ = s.file.Close() // opened for reading: nothing can be lost
}

// checkNetns refuses what is no network namespace, and the node's own.
func checkNetns(file *os.File) error {
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fsys); err != nil {
		return fmt.Errorf("stat file system of %s: %w", file.Name(), err)
	}
	if fsys.Type != nsfsMagic {
		return fmt.Errorf("%s is not on nsfs: %w", file.Name(), datapath.ErrInvalidNetns)
	}
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%s is another kind of namespace: %w", file.Name(), datapath.ErrInvalidNetns)
	}
	return refuseOwn(file)
}

// refuseOwn refuses the network namespace in which the calling thread runs.
func refuseOwn(file *os.File) error {
	var its, own unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &its); err != nil {
		return fmt.Errorf("stat %s: %w", file.Name(), err)
	}
	if err := unix.Stat(ownNetns, &own); err != nil {
		return fmt.Errorf("stat own network namespace: %w", err)
	}
	if its.Dev == own.Dev && its.Ino == own.Ino {
		return fmt.Errorf("%s is the node's own: %w", file.Name(), datapath.ErrInvalidNetns)
	}
	return nil
}

// configure gives the device its addresses, raises it and leads everything to the gateways. A new device has no carrier
// yet, because the host side is down: nothing is sent. Around one that talks, what is right is left alone.
func (s *sandbox) configure(inside netlink.Link, p Pair, gatewayMAC net.HardwareAddr) error {
	if err := s.nl.LinkSetUp(byIndex(loopbackIndex)); err != nil {
		return fmt.Errorf("raise lo: %w", err)
	}
	if err := s.ensureAddrs(inside, p.Addrs); err != nil {
		return err
	}
	if err := s.nl.LinkSetUp(inside); err != nil {
		return fmt.Errorf("raise %s: %w", p.Inside, err)
	}
	if err := addRoutes(s.nl, gatewayRoutes(inside.Attrs().Index, p.Gateways), protocolSandbox); err != nil {
		return err
	}
	// Saves the first packet a question; who flushes the entry asks, and is answered by from_pod.
	for _, gateway := range p.Gateways {
		if err := ensureNeighbour(s.nl, inside.Attrs().Index, gateway, gatewayMAC); err != nil {
			return err
		}
	}
	return nil
}

// ensureAddrs adds the addresses that are missing. Others, such as the link-local one, are the kernel's or the pod's.
func (s *sandbox) ensureAddrs(inside netlink.Link, want []netip.Addr) error {
	have, err := addrsOf(s.nl, inside)
	if err != nil {
		return err
	}
	for _, addr := range want {
		if slices.Contains(have, single(addr)) {
			continue
		}
		if err := s.addAddr(inside, addr); err != nil {
			return err
		}
	}
	return nil
}

// addAddr adds an address. No duplicate detection: it would hold IPv6 back for a second, and the gateway answers for
// nobody else anyway.
func (s *sandbox) addAddr(inside netlink.Link, addr netip.Addr) error {
	want := &netlink.Addr{IPNet: ipNet(single(addr)), Flags: unix.IFA_F_NODAD}
	err := s.nl.AddrReplace(inside, want)
	if errors.Is(err, unix.EACCES) && addr.Is6() {
		// Some runtimes turn IPv6 off in the sandboxes they make.
		if err := s.enableIPv6(inside.Attrs().Name); err != nil {
			return err
		}
		err = s.nl.AddrReplace(inside, want)
	}
	if err != nil {
		return fmt.Errorf("add address %s: %w", addr, err)
	}
	return nil
}

// enableIPv6 writes the sysctl from inside the sandbox, since the folder shows the network namespace of the thread that
// looks.
func (s *sandbox) enableIPv6(device string) error {
	return s.enter(func() error {
		return s.sysctls.Ensure("0", "ipv6", "conf", device, "disable_ipv6")
	})
}

// enter runs the deed with the thread in the sandbox. When the way back fails the thread is not given back to the
// runtime: nobody else may run there.
func (s *sandbox) enter(deed func() error) error {
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer own.Close()
	if err := netns.Set(netns.NsHandle(s.file.Fd())); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	done := deed()
	if err := netns.Set(own); err != nil {
		return errors.Join(done, fmt.Errorf("return from network namespace: %w", err))
	}
	runtime.UnlockOSThread()
	return done
}

// gatewayRoutes are each family's way out. The gateway's own route comes first, instead of the onlink flag, because
// runtimes that copy routes into a guest do not all know that flag.
func gatewayRoutes(index int, gateways []netip.Addr) []Route {
	var routes []Route
	for _, gateway := range gateways {
		all := netip.PrefixFrom(unspecified(gateway), 0)
		routes = append(routes,
			Route{Dst: single(gateway), Device: index}, Route{Dst: all, Device: index, Via: gateway})
	}
	return routes
}

func unspecified(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

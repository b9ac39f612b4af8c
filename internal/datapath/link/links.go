// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// The names under which people know the node's own devices.
const (
	TunnelDevice = "cilium_vxlan"
	HostDevice   = "cilium_host"
	hostPeer     = "cilium_net"
)

// Links speaks with the kernel about one network namespace: that of the thread which opened it. Its sockets are kept,
// because opening one costs as much as the request itself.
type Links struct {
	nl      *netlink.Handle
	generic *nl.SocketHandle // asks what is no matter of routes and links
	frames  int              // sends frames
	sysctls Sysctls
	random  io.Reader
}

// Open makes a Links for the network namespace of the calling thread. MAC addresses come from random.
func Open(sysctls Sysctls, random io.Reader) (*Links, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_XFRM)
	if errors.Is(err, unix.EPROTONOSUPPORT) { // a kernel without IPsec
		handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	generic, err := nl.Subscribe(unix.NETLINK_GENERIC)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open generic netlink socket: %w", err)
	}
	frames, err := openFrames()
	if err != nil {
		generic.Close()
		handle.Close()
		return nil, err
	}
	return &Links{
		nl: handle, generic: &nl.SocketHandle{Socket: generic}, frames: frames, sysctls: sysctls, random: random,
	}, nil
}

// Close closes the sockets.
func (l *Links) Close() {
	l.nl.Close()
	l.generic.Close()
	_ = unix.Close(l.frames) // It holds nothing that could be lost.
}

// Index is the number of a device, 0 when there is none of that name.
func (l *Links) Index(name string) (int, error) {
	found, err := l.find(name)
	if found == nil || err != nil {
		return 0, err
	}
	return found.Attrs().Index, nil
}

// Up raises a device.
func (l *Links) Up(index int) error {
	if err := l.nl.LinkSetUp(byIndex(index)); err != nil {
		return fmt.Errorf("raise device %d: %w", index, err)
	}
	return nil
}

// Down lowers a device, with which the kernel forgets its routes. A device that is gone is down.
func (l *Links) Down(index int) error {
	if err := l.nl.LinkSetDown(byIndex(index)); err != nil && !gone(err) {
		return fmt.Errorf("lower device %d: %w", index, err)
	}
	return nil
}

// Delete removes a device, if it is of the given kind. A device that is gone is removed.
func (l *Links) Delete(name, kind string) error {
	found, err := l.find(name)
	if found == nil || err != nil {
		return err
	}
	if found.Type() != kind {
		return fmt.Errorf("%s is of kind %s, not %s: %w", name, found.Type(), kind, datapath.ErrForeignDevice)
	}
	if err := l.nl.LinkDel(found); err != nil && !gone(err) {
		return fmt.Errorf("delete device %s: %w", name, err)
	}
	return nil
}

// find looks a device up by name; nil without an error means that there is none.
func (l *Links) find(name string) (netlink.Link, error) {
	found, err := l.nl.LinkByName(name)
	switch {
	case err == nil:
		return found, nil
	case gone(err):
		return nil, nil
	default:
		return nil, fmt.Errorf("look up device %s: %w", name, err)
	}
}

// quieten keeps IPv6 from giving a device addresses that nobody asked for.
func (l *Links) quieten(index int) error {
	err := l.nl.LinkSetIP6AddrGenMode(byIndex(index), addrGenModeNone)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("turn off address generation of device %d: %w", index, err)
	}
	return nil
}

// ensureQuiet is quieten for a device that may be so already: the kernel would tell a change even where there is none, and
// whoever looks over the node at each change would never end.
func (l *Links) ensureQuiet(device *netlink.LinkAttrs) error {
	mode, err := l.sysctls.Read("ipv6", "conf", device.Name, "addr_gen_mode")
	if err == nil && mode == strconv.Itoa(addrGenModeNone) {
		return nil
	}
	return l.quieten(device.Index)
}

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE.
const addrGenModeNone = 1

// randomMAC is a locally administered unicast address.
func (l *Links) randomMAC() (net.HardwareAddr, error) {
	mac := make(net.HardwareAddr, 6)
	if _, err := io.ReadFull(l.random, mac); err != nil {
		return nil, fmt.Errorf("draw a MAC address: %w", err)
	}
	return localMAC(mac), nil
}

// localMAC turns any six bytes into a locally administered unicast address.
func localMAC(mac net.HardwareAddr) net.HardwareAddr {
	const multicast, local = 0x01, 0x02
	mac[0] = mac[0]&^multicast | local
	return mac
}

// byIndex names a device to netlink by its number alone.
func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// gone reports whether an error says that the thing does not exist.
func gone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) ||
		errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// ipNet is a prefix as netlink wants it.
func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

// single is the prefix that holds one address.
func single(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// toPrefix is what netlink reports as a prefix; invalid for nil.
func toPrefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(toAddr(n.IP), bits)
}

// toAddr is what netlink reports as an address; invalid for nil.
func toAddr(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// families names the families to which addresses belong, as netlink numbers them.
func families() []int { return []int{unix.AF_INET, unix.AF_INET6} }

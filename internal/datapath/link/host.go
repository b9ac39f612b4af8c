// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// EnsureHost makes the device on which the router addresses sit, up. It is one end of a veth pair, because some kernels
// lack the dummy device; nothing is ever sent through it.
func (l *Links) EnsureHost(routers []netip.Addr, mtu int) error {
	device, err := l.find(HostDevice)
	if err == nil && device == nil {
		device, err = l.createHost(mtu)
	}
	if err != nil {
		return err
	}
	if device.Type() != veth {
		return fmt.Errorf("%s is of kind %s: %w", HostDevice, device.Type(), datapath.ErrForeignDevice)
	}
	peer, err := l.nl.LinkByIndex(device.Attrs().ParentIndex)
	if err != nil {
		return fmt.Errorf("look up the peer of %s: %w", HostDevice, err)
	}
	for _, end := range []netlink.Link{peer, device} {
		if err := l.ensureEnd(end, mtu); err != nil {
			return err
		}
	}
	return l.ensureAddrs(device, routers)
}

// DeleteHost removes the device and its peer if they are there.
func (l *Links) DeleteHost() error { return l.Delete(HostDevice, veth) }

// createHost returns the device as the kernel made it, with its peer's number.
func (l *Links) createHost(mtu int) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = HostDevice, mtu
	pair := netlink.NewVeth(attrs)
	pair.PeerName = hostPeer
	if err := l.nl.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("create %s with %s: %w", HostDevice, hostPeer, err)
	}
	device, err := l.nl.LinkByName(HostDevice)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", HostDevice, err)
	}
	return device, nil
}

// ensureEnd makes one end plain and raises it.
func (l *Links) ensureEnd(end netlink.Link, mtu int) error {
	name := end.Attrs().Name
	if err := l.ensureQuiet(end.Attrs()); err != nil {
		return err
	}
	err := errors.Join(
		l.sysctls.ensurePlain(name),
		l.sysctls.ensureIfThere("0", "ipv6", "conf", name, "disable_ipv6"),
		ensureMTU(l.nl, end, mtu))
	if err != nil {
		return err
	}
	return l.Up(end.Attrs().Index)
}

// ensureAddrs gives the device exactly these addresses. IPv4 has link scope, so that the kernel never chooses a router
// address as the source of a packet that leaves by a device without addresses.
func (l *Links) ensureAddrs(device netlink.Link, want []netip.Addr) error {
	have, err := addrsOf(l.nl, device)
	if err != nil {
		return err
	}
	for _, addr := range want {
		if slices.Contains(have, single(addr)) {
			continue
		}
		added := &netlink.Addr{IPNet: ipNet(single(addr)), Flags: unix.IFA_F_NODAD}
		if addr.Is4() {
			added.Scope = int(netlink.SCOPE_LINK)
		}
		if err := l.nl.AddrReplace(device, added); err != nil {
			return fmt.Errorf("add address %s to %s: %w", addr, device.Attrs().Name, err)
		}
	}
	for _, prefix := range have {
		if prefix.IsSingleIP() && slices.Contains(want, prefix.Addr()) {
			continue
		}
		if err := l.nl.AddrDel(device, &netlink.Addr{IPNet: ipNet(prefix)}); err != nil && !gone(err) {
			return fmt.Errorf("remove address %s from %s: %w", prefix, device.Attrs().Name, err)
		}
	}
	return nil
}

func addrsOf(nl *netlink.Handle, device netlink.Link) ([]netip.Prefix, error) {
	var have []netip.Prefix
	for _, family := range families() {
		addrs, err := nl.AddrList(device, family)
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", device.Attrs().Name, err)
		}
		for _, addr := range addrs {
			have = append(have, toPrefix(addr.IPNet))
		}
	}
	return have, nil
}

// EnsureForwarding turns the node into a router for the families of the given addresses: altogether, and each card for
// itself, since either can be switched off alone.
func (l *Links) EnsureForwarding(routers []netip.Addr, devices []Device) error {
	if slices.ContainsFunc(routers, netip.Addr.Is4) {
		if err := l.forwardIPv4(devices); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(routers, netip.Addr.Is6) {
		if err := l.forwardIPv6(devices); err != nil {
			return err
		}
	}
	// The filter in force is the stricter of a device's and this one.
	return l.sysctls.Ensure("0", "ipv4", "conf", "all", "rp_filter")
}

func (l *Links) forwardIPv4(devices []Device) error {
	if err := l.sysctls.Ensure("1", "ipv4", "ip_forward"); err != nil {
		return err
	}
	for _, device := range devices {
		if err := l.sysctls.Ensure("1", "ipv4", "conf", device.Name, "forwarding"); err != nil {
			return err
		}
	}
	return nil
}

// forwardIPv6 keeps cards that take their default route from router advertisements doing so: the kernel stops when a node
// begins to forward.
func (l *Links) forwardIPv6(devices []Device) error {
	const evenWhenForwarding = "2"
	for _, device := range devices {
		accepts, err := l.sysctls.Read("ipv6", "conf", device.Name, "accept_ra")
		if err != nil {
			return err
		}
		if accepts != "1" {
			continue
		}
		if err := l.sysctls.Ensure(evenWhenForwarding, "ipv6", "conf", device.Name, "accept_ra"); err != nil {
			return err
		}
	}
	if err := l.sysctls.Ensure("1", "ipv6", "conf", "all", "forwarding"); err != nil {
		return err
	}
	for _, device := range devices {
		if err := l.sysctls.Ensure("1", "ipv6", "conf", device.Name, "forwarding"); err != nil {
			return err
		}
	}
	return nil
}

// EnsurePlain checks the sysctls of devices that something else on the node, such as a udev rule, may have changed.
func (l *Links) EnsurePlain(devices []string) error {
	for _, device := range devices {
		if err := l.sysctls.ensurePlain(device); err != nil {
			return err
		}
	}
	return nil
}

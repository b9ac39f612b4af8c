// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// Device is a card of the node.
type Device struct {
	Name  string
	Index int
	MTU   int
	MAC   net.HardwareAddr
	// Ethernet devices have MAC addresses. Bare ones have packets that begin with their IP header, such as a tunnel of
	// another owner. Some are neither.
	Ethernet, Bare bool
	// Addrs are those of the node's addresses that sit on it.
	Addrs []netip.Addr
}

// Devices lists the cards by which the node talks with others: those with one of its addresses or a default route, in
// the order of their names. Loopback and our own devices are none.
func (l *Links) Devices(nodeAddrs []netip.Addr) ([]Device, error) {
	all, err := l.list()
	if err != nil {
		return nil, err
	}
	addrs, err := l.addrsByDevice(unix.RT_SCOPE_HOST)
	if err != nil {
		return nil, err
	}
	defaults, err := l.defaultDevices()
	if err != nil {
		return nil, err
	}
	return pickDevices(all, func(index int) ([]netip.Addr, bool) {
		of := addrs[index]
		of = slices.DeleteFunc(of, func(addr netip.Addr) bool { return !slices.Contains(nodeAddrs, addr) })
		return of, slices.Contains(defaults, index)
	}), nil
}

// pickDevices asks of each device which node addresses it has, and whether a default route.
func pickDevices(all []netlink.Link, ask func(index int) ([]netip.Addr, bool)) []Device {
	var picked []Device
	for _, device := range all {
		attrs := device.Attrs()
		if isOwn(attrs.Name) || attrs.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, leadsOut := ask(attrs.Index)
		if len(addrs) == 0 && !leadsOut {
			continue
		}
		picked = append(picked, Device{
			Name: attrs.Name, Index: attrs.Index, MTU: attrs.MTU, MAC: attrs.HardwareAddr, Ethernet: attrs.EncapType == "ether",
			Bare: isBare(attrs.EncapType), Addrs: addrs,
		})
	}
	slices.SortFunc(picked, func(a, b Device) int { return cmp.Compare(a.Name, b.Name) })
	return picked
}

// Others lists the devices that are neither of our making nor among the given.
func (l *Links) Others(devices []Device) ([]Device, error) {
	all, err := l.list()
	if err != nil {
		return nil, err
	}
	others := pickDevices(all, func(int) ([]netip.Addr, bool) { return nil, true })
	return slices.DeleteFunc(others, func(other Device) bool {
		return slices.ContainsFunc(devices, func(d Device) bool { return d.Index == other.Index })
	}), nil
}

// Exits lists the devices by which packets can leave the node for elsewhere than a pod: the cards, and every other that
// has an address of its own, such as the bridge of a virtual network. The first of a device's addresses in each family
// is the one under which pods' packets leave by it: one of the node's if it is there, any other, or the node's first.
func (l *Links) Exits(nodeAddrs []netip.Addr) ([]Device, error) {
	cards, err := l.Devices(nodeAddrs)
	if err != nil {
		return nil, err
	}
	others, err := l.Others(cards)
	if err != nil {
		return nil, err
	}
	global, err := l.addrsByDevice(unix.RT_SCOPE_UNIVERSE)
	if err != nil {
		return nil, err
	}
	others = slices.DeleteFunc(others, func(d Device) bool { return len(global[d.Index]) == 0 })
	exits := append(cards, others...)
	for i := range exits {
		exits[i].Addrs = slices.Concat(exits[i].Addrs, global[exits[i].Index], nodeAddrs)
	}
	return slices.DeleteFunc(exits, func(d Device) bool { return !d.Ethernet && !d.Bare }), nil
}

// isBare tells by its type whether a device's packets begin with their IP header.
func isBare(encapsulation string) bool {
	return slices.Contains([]string{"none", "ppp", "ipip", "tunnel6", "sit", "rawip"}, encapsulation)
}

// isOwn reports whether a device is of our making.
func isOwn(name string) bool {
	return strings.HasPrefix(name, "cilium_") || datapath.IsHostIfName(name)
}

// addrsByDevice lists the addresses that are good for at least this scope; the wider the scope, the smaller its number.
func (l *Links) addrsByDevice(scope int) (map[int][]netip.Addr, error) {
	byDevice := map[int][]netip.Addr{}
	for _, family := range families() {
		addrs, err := l.nl.AddrList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, addr := range addrs {
			if addr.Scope <= scope && addr.Flags&unix.IFA_F_DEPRECATED == 0 {
				byDevice[addr.LinkIndex] = append(byDevice[addr.LinkIndex], toAddr(addr.IP))
			}
		}
	}
	return byDevice, nil
}

// defaultDevices lists the devices of all default routes of the main table.
func (l *Links) defaultDevices() ([]int, error) {
	var indices []int
	for _, family := range families() {
		routes, err := l.nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, route := range routes {
			if route.Type != unix.RTN_UNICAST || route.Dst != nil && toPrefix(route.Dst).Bits() != 0 {
				continue
			}
			indices = append(indices, route.LinkIndex)
			for _, hop := range route.MultiPath {
				indices = append(indices, hop.LinkIndex)
			}
		}
	}
	return indices, nil
}

// MTU is what a pod may send so that it fits through each card after another overhead bytes are added.
func MTU(devices []Device, overhead int) int {
	smallest := slices.MinFunc(devices, func(a, b Device) int { return cmp.Compare(a.MTU, b.MTU) })
	return smallest.MTU - overhead
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Our routes are told from others' by their protocol: `ip route show proto 201`. In a sandbox there is nobody else, and
// they look as if the pod had made them.
const (
	protocolNode     = 201
	protocolEndpoint = 202
	protocolSandbox  = unix.RTPROT_BOOT
)

// Route leads a range to a device.
type Route struct {
	Dst netip.Prefix
	// Device is 0 for a range that leads nowhere: who asks for an address that nobody has gets an answer at once.
	Device int
	// Via is the next hop; invalid when the device itself knows the way.
	Via netip.Addr
	// Src is the source address of the node's own packets; invalid leaves the choice to the kernel.
	Src netip.Addr
}

// DirectDevice is the device by which an address is reached without a router in between; 0 when there is one, or no way
// at all.
func (l *Links) DirectDevice(addr netip.Addr) (int, error) {
	routes, err := l.nl.RouteGet(addr.AsSlice())
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up the route to %s: %w", addr, err)
	}
	for _, route := range routes {
		if route.Gw == nil && route.Via == nil && route.Type == unix.RTN_UNICAST {
			return route.LinkIndex, nil
		}
	}
	return 0, nil
}

// AddRoutes adds the node's routes that are missing or differ.
func (l *Links) AddRoutes(want []Route) error { return addRoutes(l.nl, want, protocolNode) }

func addRoutes(nl *netlink.Handle, want []Route, protocol netlink.RouteProtocol) error {
	have, err := routesOf(nl, protocol)
	if err != nil {
		return err
	}
	missing, _ := diffRoutes(want, have)
	for _, route := range missing {
		if err := putRoute(nl, route, protocol); err != nil {
			return err
		}
	}
	return nil
}

// AddEndpointRoutes adds routes to pods that are missing or differ. A pod may die meanwhile; its device then needs none.
func (l *Links) AddEndpointRoutes(want []Route) error {
	have, err := routesOf(l.nl, protocolEndpoint)
	if err != nil {
		return err
	}
	missing, _ := diffRoutes(want, have)
	for _, route := range missing {
		err := putRoute(l.nl, route, protocolEndpoint)
		if err != nil && !gone(err) && !errors.Is(err, unix.ENETDOWN) {
			return err
		}
	}
	return nil
}

// EnsureEndpointRoute leads one address to its pod, without a look at all the others.
func (l *Links) EnsureEndpointRoute(want Route) error {
	// Without the route this finds the one of the whole range, which leads nowhere, or an error that says the same.
	found, err := l.nl.RouteGetWithOptions(want.Dst.Addr().AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err == nil && len(found) == 1 && found[0].Protocol == protocolEndpoint && fromNetlink(found[0]) == want {
		return nil
	}
	return putRoute(l.nl, want, protocolEndpoint)
}

func putRoute(nl *netlink.Handle, route Route, protocol netlink.RouteProtocol) error {
	if err := nl.RouteReplace(toNetlink(route, protocol)); err != nil {
		return fmt.Errorf("add route to %s: %w", route.Dst, err)
	}
	return nil
}

// PruneRoutes removes our routes that are wanted no longer.
func (l *Links) PruneRoutes(want []Route) error {
	have, err := routesOf(l.nl, protocolNode)
	if err != nil {
		return err
	}
	_, stale := diffRoutes(want, have)
	for _, route := range stale {
		if err := l.nl.RouteDel(toNetlink(route, protocolNode)); err != nil && !gone(err) {
			return fmt.Errorf("remove route to %s: %w", route.Dst, err)
		}
	}
	return nil
}

// diffRoutes says what to add and what to remove.
func diffRoutes(want, have []Route) (missing, stale []Route) {
	wanted, there := map[Route]bool{}, map[Route]bool{}
	for _, route := range want {
		wanted[route] = true
	}
	for _, route := range have {
		there[route] = true
		if !wanted[route] {
			stale = append(stale, route)
		}
	}
	for _, route := range want {
		if !there[route] {
			missing = append(missing, route)
		}
	}
	return missing, stale
}

// routesOf lists the routes of one protocol in the main table.
func routesOf(nl *netlink.Handle, protocol netlink.RouteProtocol) ([]Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: protocol}
	var ours []Route
	for _, family := range families() {
		found, err := nl.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, route := range found {
			ours = append(ours, fromNetlink(route))
		}
	}
	return ours, nil
}

func fromNetlink(route netlink.Route) Route {
	r := Route{Dst: toPrefix(route.Dst), Via: toAddr(route.Gw), Src: toAddr(route.Src)}
	if route.Type == unix.RTN_UNICAST {
		// The kernel names lo for an IPv6 range that leads nowhere.
		r.Device = route.LinkIndex
	}
	return r
}

func toNetlink(route Route, protocol netlink.RouteProtocol) *netlink.Route {
	r := &netlink.Route{Dst: ipNet(route.Dst), Table: unix.RT_TABLE_MAIN, Protocol: protocol}
	if route.Device == 0 {
		r.Type = unix.RTN_UNREACHABLE
		return r
	}
	r.LinkIndex = route.Device
	r.Gw, r.Src = netIP(route.Via), netIP(route.Src)
	if !route.Via.IsValid() && route.Dst.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

// netIP is an address as netlink wants it; nil for an invalid one.
func netIP(addr netip.Addr) net.IP {
	if !addr.IsValid() {
		return nil
	}
	return addr.AsSlice()
}

// RemoveAllRoutes removes every route of ours.
func (l *Links) RemoveAllRoutes() error {
	for _, protocol := range []netlink.RouteProtocol{protocolNode, protocolEndpoint} {
		routes, err := routesOf(l.nl, protocol)
		if err != nil {
			return err
		}
		for _, route := range routes {
			if err := l.nl.RouteDel(toNetlink(route, protocol)); err != nil && !gone(err) {
				return fmt.Errorf("remove route to %s: %w", route.Dst, err)
			}
		}
	}
	return nil
}

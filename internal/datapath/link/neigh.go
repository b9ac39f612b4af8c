// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// EnsureNeighbour tells a device the MAC of an address for good, so that nobody ever asks for it.
func (l *Links) EnsureNeighbour(index int, addr netip.Addr, mac net.HardwareAddr) error {
	return ensureNeighbour(l.nl, index, addr, mac)
}

func ensureNeighbour(nl *netlink.Handle, index int, addr netip.Addr, mac net.HardwareAddr) error {
	// The kernel compares: one that is right stays as it is, and nobody is told of a change.
	err := nl.NeighSet(&netlink.Neigh{
		LinkIndex:    index,
		State:        netlink.NUD_PERMANENT,
		IP:           addr.AsSlice(),
		HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("add neighbour %s: %w", addr, err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PurgeConntrack makes the kernel forget the connections of addresses, so that their next owner inherits no
// translation. A kernel without connection tracking has nothing to forget.
func (l *Links) PurgeConntrack(addrs []netip.Addr) error {
	for _, addr := range addrs {
		family := netlink.InetFamily(unix.AF_INET)
		if addr.Is6() {
			family = unix.AF_INET6
		}
		_, err := l.nl.ConntrackDeleteFilters(netlink.ConntrackTable, family, ofAddr(addr))
		if err != nil && !lacksConntrack(err) {
			return fmt.Errorf("purge connections of %s: %w", addr, err)
		}
	}
	return nil
}

// lacksConntrack reports whether the kernel has no table of connections at all.
func lacksConntrack(err error) bool {
	return gone(err) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) ||
		errors.Is(err, unix.EPROTONOSUPPORT)
}

// ofAddr matches connections with an address at any of their ends, before or after translation.
type ofAddr netip.Addr

func (a ofAddr) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	want := netip.Addr(a)
	return toAddr(flow.Forward.SrcIP) == want || toAddr(flow.Forward.DstIP) == want ||
		toAddr(flow.Reverse.SrcIP) == want || toAddr(flow.Reverse.DstIP) == want
}

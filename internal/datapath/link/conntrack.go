// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The kernel looks for connections itself if it is told which part of which tuple is meant: reading a table of 100,000
// entries to find a pod's ten takes more than a second.
const (
	ctaFilter           = 25 // CTA_FILTER of nfnetlink_conntrack.h
	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2
	ctaFilterSource     = 1 // the bit for the tuple's source address
)

// end is one of the two tuples of a connection, by whose source an address is found. With both, every connection is: an
// address that another is translated to shows as the source of the reply.
type end struct {
	tuple, flags uint16
}

func ends() []end {
	return []end{{nl.CTA_TUPLE_ORIG, ctaFilterOrigFlags}, {nl.CTA_TUPLE_REPLY, ctaFilterReplyFlags}}
}

// tracking is a socket to the kernel's connection tracking.
type tracking map[int]*nl.SocketHandle

func openTracking() (tracking, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	return tracking{unix.NETLINK_NETFILTER: {Socket: socket}}, nil
}

func (c tracking) close() { c[unix.NETLINK_NETFILTER].Close() }

// PurgeConntrack makes the kernel forget the connections of addresses, so that their next owner inherits no
// translation. A kernel without connection tracking has nothing to forget.
func (l *Links) PurgeConntrack(addrs []netip.Addr) error {
	for _, addr := range addrs {
		for _, end := range ends() {
			if err := l.tracking.purge(addr, end); err != nil && !lacksConntrack(err) {
				return fmt.Errorf("purge connections of %s: %w", addr, err)
			}
		}
	}
	return nil
}

// lacksConntrack reports whether the kernel does not know the table at all: it then calls every question invalid.
func lacksConntrack(err error) bool {
	return gone(err) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) ||
		errors.Is(err, unix.EPROTONOSUPPORT)
}

// purge deletes the connections that have the address as the source of one end.
func (c tracking) purge(addr netip.Addr, e end) error {
	list := c.request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, addr)
	list.AddData(tupleSource(addr, e.tuple))
	list.AddData(sourceFilter(e.flags))
	found, err := list.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	for _, connection := range found {
		forget := c.request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, addr)
		forget.AddRawData(connection[nl.SizeofNfgenmsg:])
		if _, err := forget.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (c tracking) request(operation, flags int, addr netip.Addr) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(int(netlink.ConntrackTable)<<8|operation, flags)
	request.Sockets = c
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	request.AddData(&nl.Nfgenmsg{NfgenFamily: uint8(family), Version: nl.NFNETLINK_V0})
	return request
}

func tupleSource(addr netip.Addr, tuple uint16) *nl.RtAttr {
	source := nl.CTA_IP_V4_SRC
	if addr.Is6() {
		source = nl.CTA_IP_V6_SRC
	}
	attr := nl.NewRtAttr(unix.NLA_F_NESTED|int(tuple), nil)
	attr.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil).AddRtAttr(source, addr.AsSlice())
	return attr
}

func sourceFilter(flags uint16) *nl.RtAttr {
	attr := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	attr.AddRtAttr(int(flags), nl.Uint32Attr(ctaFilterSource))
	return attr
}

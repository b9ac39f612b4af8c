// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// tracking speaks with the kernel's connection tracking. To look for connections the kernel walks its whole table, which
// takes 10 ms even when it is empty. So it is walked once for all addresses that wait to be purged, and not, as the
// kernel's own filter would have it, once for each address, family and direction.
type tracking struct {
	sockets map[int]*nl.SocketHandle

	walking sync.Mutex // one walk at a time
	mu      sync.Mutex
	next    *purge // who comes now goes with this walk
}

// purge is one walk for several callers.
type purge struct {
	addrs []netip.Addr
	done  chan struct{}
	err   error
}

func openTracking() (*tracking, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	return &tracking{sockets: map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: socket}}}, nil
}

func (c *tracking) close() { c.sockets[unix.NETLINK_NETFILTER].Close() }

// PurgeConntrack makes the kernel forget the connections of addresses, so that their next owner inherits no
// translation. A kernel without connection tracking has nothing to forget.
func (l *Links) PurgeConntrack(addrs []netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	if err := l.tracking.purge(addrs); err != nil && !lacksConntrack(err) {
		return fmt.Errorf("purge connections of %v: %w", addrs, err)
	}
	return nil
}

// lacksConntrack reports whether the kernel does not know the table at all: it then calls every question invalid.
func lacksConntrack(err error) bool {
	return gone(err) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) ||
		errors.Is(err, unix.EPROTONOSUPPORT)
}

// purge goes with the next walk, and makes it if nobody else does.
func (c *tracking) purge(addrs []netip.Addr) error {
	c.mu.Lock()
	p, leads := c.next, c.next == nil
	if leads {
		p = &purge{done: make(chan struct{})}
		c.next = p
	}
	p.addrs = append(p.addrs, addrs...)
	c.mu.Unlock()
	if leads {
		c.walk(p)
	}
	<-p.done
	return p.err
}

// walk waits for the walk before it, meanwhile taking on others.
func (c *tracking) walk(p *purge) {
	c.walking.Lock()
	defer c.walking.Unlock()
	c.mu.Lock()
	c.next = nil
	c.mu.Unlock()
	defer close(p.done)
	found, err := c.find(p.addrs)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		p.err = err
		return
	}
	for _, connection := range found {
		forget := c.request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, connection[0])
		forget.AddRawData(connection[nl.SizeofNfgenmsg:])
		if _, err := forget.Execute(unix.NETLINK_NETFILTER, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.err = errors.Join(p.err, err)
		}
	}
}

// find returns the kernel's messages about connections of the addresses.
func (c *tracking) find(addrs []netip.Addr) (found [][]byte, err error) {
	list := c.request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, unix.AF_UNSPEC)
	err = list.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
		if hasSource(message, addrs) {
			found = append(found, slices.Clone(message))
		}
		return true
	})
	return found, err
}

// request starts a message; the family is a byte of its header.
func (c *tracking) request(operation, flags int, family byte) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(int(netlink.ConntrackTable)<<8|operation, flags)
	request.Sockets = c.sockets
	request.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return request
}

// hasSource reports whether one of the addresses is the source of the connection or of its reply. So every connection is
// found: an address that another one is translated to shows as the source of the reply.
func hasSource(message []byte, addrs []netip.Addr) bool {
	if len(message) < nl.SizeofNfgenmsg {
		return false
	}
	for _, tuple := range attributes(message[nl.SizeofNfgenmsg:]) {
		kind := tuple.Attr.Type & nl.NLA_TYPE_MASK
		if kind != nl.CTA_TUPLE_ORIG && kind != nl.CTA_TUPLE_REPLY {
			continue
		}
		if source := tupleSource(tuple.Value); slices.Contains(addrs, source) {
			return true
		}
	}
	return false
}

// tupleSource is the source address in a tuple; invalid if there is none.
func tupleSource(tuple []byte) netip.Addr {
	for _, part := range attributes(tuple) {
		if part.Attr.Type&nl.NLA_TYPE_MASK != nl.CTA_TUPLE_IP {
			continue
		}
		for _, ip := range attributes(part.Value) {
			if kind := ip.Attr.Type & nl.NLA_TYPE_MASK; kind == nl.CTA_IP_V4_SRC || kind == nl.CTA_IP_V6_SRC {
				return toAddr(ip.Value)
			}
		}
	}
	return netip.Addr{}
}

// attributes splits a message; one that is cut short has none.
func attributes(data []byte) []syscall.NetlinkRouteAttr {
	all, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil
	}
	return all
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// Quiet is how long no news is passed on after a change: a card that comes up tells it in a dozen messages.
const Quiet = 100 * time.Millisecond

// Changes tells that devices, addresses, routes or IPsec policies of the node have changed, until ctx ends. What concerns
// pods' devices only is left out. Changes that come while one waits to be taken are one. after is time.After but in tests.
func Changes(ctx context.Context, after func(time.Duration) <-chan time.Time) (<-chan struct{}, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to changes of devices and routes: %w", err)
	}
	sockets := []*nl.NetlinkSocket{socket}
	policies, err := nl.Subscribe(unix.NETLINK_XFRM, policyGroup)
	switch {
	case err == nil:
		sockets = append(sockets, policies)
	case !errors.Is(err, unix.EPROTONOSUPPORT): // a kernel without IPsec
		socket.Close()
		return nil, fmt.Errorf("subscribe to changes of IPsec policies: %w", err)
	}
	changes := make(chan struct{}, 1)
	go coalesce(listenAll(ctx, sockets), changes, after)
	return changes, nil
}

// listenAll listens to every socket until ctx ends.
func listenAll(ctx context.Context, sockets []*nl.NetlinkSocket) <-chan struct{} {
	raw := make(chan struct{}, 1)
	var listeners sync.WaitGroup
	for _, socket := range sockets {
		listeners.Go(func() { listen(ctx, socket, raw) })
		context.AfterFunc(ctx, socket.Close)
	}
	go func() {
		listeners.Wait()
		close(raw)
	}()
	return raw
}

// listen reads until ctx ends. Messages that did not fit into the socket's buffer, or could not be read, may have been
// about anything, so their loss counts as a change.
func listen(ctx context.Context, socket *nl.NetlinkSocket, raw chan<- struct{}) {
	for {
		messages, _, err := socket.Receive()
		if ctx.Err() != nil {
			return
		}
		if err != nil || slices.ContainsFunc(messages, concernsNode) {
			signal(raw)
		}
	}
}

// coalesce passes on that something came, after Quiet.
func coalesce(raw <-chan struct{}, changes chan<- struct{}, after func(time.Duration) <-chan time.Time) {
	defer close(changes)
	for range raw {
		<-after(Quiet)
		signal(changes)
	}
}

func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// concernsNode reports whether a message is about more than a pod: those come with every pod, and each would have the
// whole node looked over.
func concernsNode(message syscall.NetlinkMessage) bool {
	switch message.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		device, err := netlink.LinkDeserialize(&unix.NlMsghdr{Type: message.Header.Type}, message.Data)
		return err != nil || !datapath.IsHostIfName(device.Attrs().Name)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return len(message.Data) < unix.SizeofRtMsg || concernsNodeRoute(nl.DeserializeRtMsg(message.Data))
	default:
		return true
	}
}

// concernsNodeRoute leaves out endpoints' routes, and what the kernel adds to its local and multicast tables.
func concernsNodeRoute(route *nl.RtMsg) bool {
	return route.Table == unix.RT_TABLE_MAIN && route.Protocol != protocolEndpoint && route.Flags&unix.RTM_F_CLONED == 0
}

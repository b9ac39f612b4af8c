// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// TestRestartChangesNothing: an agent that comes back to a node and pods that are right leaves devices, addresses, routes,
// neighbours, filters and what runs by TCX alone, on the node and in the pods, settled or not. To write what is there
// already is not always nothing.
func TestRestartChangesNothing(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, m)
			n := c.nodes[0]
			n.settle(t) // one of the two
			told, before := map[string]*news{"the node": listen(t, n.netns)}, map[*pod]hooks{}
			for _, p := range n.pods {
				p.netns.Settle(t)
				told["pod "+p.UID], before[p] = listen(t, p.netns), n.hooks(t, p)
			}
			n.comeBack(t, m.cfg)
			c.tell(t, 0)
			for p, was := range before {
				if diff := cmp.Diff(was, n.hooks(t, p)); diff != "" {
					t.Errorf("hooks of pod %s (-before +after):\n%s", p.UID, diff)
				}
			}
			for where, of := range told {
				for _, change := range of.read(t) {
					t.Errorf("a change in %s: %s", where, change)
				}
			}
		})
	}
}

// TestSilenceCouldBeBroken changes one of each, so that TestRestartChangesNothing is known to listen.
func TestSilenceCouldBeBroken(t *testing.T) {
	n := newNode(t, "192.0.2.1", "2001:db8::1")
	ensure(t, n)
	n.netns.Settle(t)
	told := listen(t, n.netns)
	n.netns.Script(t, "ip link set eth0 mtu 1400", "ip addr add 192.0.2.77/24 dev eth0", "ip route add 198.51.100.0/24 dev eth0",
		"ip neigh add 192.0.2.78 dev eth0 lladdr 02:00:00:00:00:01", "tc qdisc add dev cilium_vxlan root pfifo")
	heard := told.read(t)
	for _, want := range []uint16{unix.RTM_NEWLINK, unix.RTM_NEWADDR, unix.RTM_NEWROUTE, unix.RTM_NEWNEIGH, unix.RTM_NEWQDISC} {
		if !slices.ContainsFunc(heard, func(c change) bool { return c.Header.Type == want }) {
			t.Errorf("nothing was heard of message type %d", want)
		}
	}
}

// news is what the kernel tells of a network namespace.
type news struct{ socket *nl.NetlinkSocket }

func listen(t *testing.T, in *lab.Netns) *news {
	t.Helper()
	n := &news{}
	in.Do(t, func() {
		var err error
		n.socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
			unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEIGH, unix.RTNLGRP_TC)
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(n.socket.Close)
	timeout := unix.NsecToTimeval(int64(100 * time.Millisecond))
	if err := n.socket.SetReceiveTimeout(&timeout); err != nil {
		t.Fatal(err)
	}
	return n
}

// read returns what was told until now.
func (n *news) read(t *testing.T) []change {
	t.Helper()
	var all []change
	for {
		messages, _, err := n.socket.Receive()
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range messages {
			if c := (change{message}); !c.isTraffic() {
				all = append(all, c)
			}
		}
	}
}

// change is one message of the kernel.
type change struct{ syscall.NetlinkMessage }

// isTraffic is true of neighbours that come and go with packets: ours are permanent.
func (c change) isTraffic() bool {
	if c.Header.Type != unix.RTM_NEWNEIGH && c.Header.Type != unix.RTM_DELNEIGH {
		return false
	}
	neighbour, err := netlink.NeighDeserialize(c.Data)
	return err == nil && neighbour.State&netlink.NUD_PERMANENT == 0
}

func (c change) String() string {
	switch c.Header.Type {
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		neighbour, _ := netlink.NeighDeserialize(c.Data)
		return fmt.Sprintf("message %d, neighbour %s", c.Header.Type, neighbour)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		device, err := netlink.LinkDeserialize(&unix.NlMsghdr{Type: c.Header.Type}, c.Data)
		if err == nil {
			return fmt.Sprintf("message %d, device %s", c.Header.Type, device.Attrs().Name)
		}
	}
	return fmt.Sprintf("message %d: %x", c.Header.Type, c.Data)
}

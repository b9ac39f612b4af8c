//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// patience is how long an answer may take on a loaded machine, impatience how long its absence is watched.
const (
	patience   = 5 * time.Second
	impatience = 300 * time.Millisecond
)

// roads are the ways between nodes.
func roads() map[string]road {
	return map[string]road{
		"the tunnel over IPv4":                 {},
		"the tunnel over IPv4, by its device":  {device: true},
		"the tunnel over IPv6":                 {v6: true},
		"the tunnel and the host's stack":      {config: loader.Config{StackForwarding: true}},
		"native routes":                        {config: loader.Config{Native: true}},
		"native routes through the host stack": {config: loader.Config{Native: true, StackForwarding: true}},
	}
}

// reach pings in both families.
func (n *namespace) reach(t *testing.T, to []netip.Addr, bytes int, dontFragment bool) {
	t.Helper()
	for _, a := range to {
		n.do(t, func() error { return ping(echo{to: a, bytes: bytes, dontFragment: dontFragment, within: patience}) })
	}
}

// notReach demands silence in both families.
func (n *namespace) notReach(t *testing.T, to []netip.Addr, bytes int, dontFragment bool) {
	t.Helper()
	for _, a := range to {
		n.do(t, func() error {
			err := ping(echo{to: a, bytes: bytes, dontFragment: dontFragment, within: impatience})
			if err == nil {
				return fmt.Errorf("%s replied to %d bytes", a, bytes)
			}
			if errors.Is(err, errNoReply) {
				return nil
			}
			return err
		})
	}
}

// stream sends a megabyte by TCP and demands all of it.
func stream(t *testing.T, from, to *pod, address netip.Addr) {
	t.Helper()
	const bytes = 1 << 20
	var listener *net.TCPListener
	to.do(t, func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 5001)))
		return err
	})
	defer listener.Close()
	must(t, listener.SetDeadline(time.Now().Add(patience)))
	sent := make(chan error, 1)
	go from.do(t, func() error {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(address, 5001).String(), patience)
		if err == nil {
			_, err = c.Write(make([]byte, bytes))
			err = errors.Join(err, c.Close())
		}
		sent <- err
		return nil
	})
	c, err := listener.Accept()
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	n, err := io.Copy(io.Discard, c)
	must(t, errors.Join(err, <-sent))
	if n != bytes {
		t.Errorf("%d bytes of %d came from %s", n, bytes, address)
	}
}

// pathMTUTo is what the pod's kernel has learned of the way.
func (n *namespace) pathMTUTo(t *testing.T, a netip.Addr) int {
	t.Helper()
	var mtu int
	n.do(t, func() error {
		family, level, option := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU
		if a.Is6() {
			family, level, option = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, sockaddr(a)); err != nil {
			return err
		}
		mtu, err = unix.GetsockoptInt(fd, level, option)
		return err
	})
	return mtu
}

// TestPodsOnOneNode needs root: it makes namespaces. Pods, their gateway and the host reach one another.
func TestPodsOnOneNode(t *testing.T) {
	for name, config := range map[string]loader.Config{
		"by redirects": {TunnelPort: tunnelPort}, "through the host's stack": {TunnelPort: tunnelPort, StackForwarding: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, config)
			a, b := n.addPod(t, 1001, deviceMTU), n.addPod(t, 1002, deviceMTU)
			a.reach(t, b.endpoint.Addrs, 84, false)
			a.reach(t, b.endpoint.Addrs, deviceMTU, true)
			a.reach(t, b.endpoint.Addrs, 4096, false)
			a.reach(t, n.routers, 84, false)
			n.reach(t, b.endpoint.Addrs, 84, false)
			n.reach(t, b.endpoint.Addrs, 4096, false)
			stream(t, a, b, b.endpoint.Addrs[0])
			stream(t, a, b, b.endpoint.Addrs[1])
		})
	}
}

// TestPodsAcrossNodes needs root: it makes namespaces.
func TestPodsAcrossNodes(t *testing.T) {
	for name, r := range roads() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, r, pathMTU)
			there := c.pods[1].endpoint.Addrs
			c.pods[0].reach(t, there, 84, false)
			c.pods[0].reach(t, there, pathMTU, true)
			c.pods[0].reach(t, there, 4096, false)
			c.pods[1].reach(t, c.pods[0].endpoint.Addrs, 84, false)
			c.nodes[0].reach(t, there, 84, false)
			c.nodes[0].reach(t, there, 4096, false)
			c.pods[0].reach(t, c.nodes[1].routers, 84, false)
			stream(t, c.pods[0], c.pods[1], there[0])
			stream(t, c.pods[0], c.pods[1], there[1])
		})
	}
}

// TestTooBigAcrossNodes needs root. One byte above the path's MTU is answered, and the pod's kernel learns.
func TestTooBigAcrossNodes(t *testing.T) {
	for name, r := range roads() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, r, deviceMTU)
			there := c.pods[1].endpoint.Addrs
			c.pods[0].reach(t, there, pathMTU, true)
			if r.config.Native && r.config.StackForwarding {
				return // The kernel knows no MTU but the card's here.
			}
			c.pods[0].notReach(t, there, pathMTU+1, true)
			stream(t, c.pods[0], c.pods[1], there[0])
			stream(t, c.pods[0], c.pods[1], there[1])
			c.pods[0].reach(t, there[:1], pathMTU+1, false)
			for _, a := range there {
				if got := c.pods[0].pathMTUTo(t, a); got != pathMTU {
					t.Errorf("path MTU to %s: got %d, want %d", a, got, pathMTU)
				}
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// TestTraffic sends real packets over every path, in both families.
func TestTraffic(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, m)
			for _, path := range c.paths() {
				if path.name == toOtherNode {
					path.source = m.sourceAtNode(c)
				}
				for _, to := range path.to {
					c.wantPing(t, path, to, 56)
					c.wantConnect(t, path, to)
				}
			}
		})
	}
}

// path is a way of a packet.
type path struct {
	name     string
	from, at *lab.Netns
	to       []netip.Addr
	// source is the address that the receiver sees; nil if it does not matter.
	source []netip.Addr
}

const toOtherNode = "pod to another node"

// sourceAtNode is what another node sees of a pod: in the tunnel there is no way back to the pod but by its own node,
// natively there is.
func (m mode) sourceAtNode(c *cluster) []netip.Addr {
	if m.cfg.Native {
		return c.nodes[0].pods[0].Addrs
	}
	return c.nodes[0].want.Addrs
}

func (c *cluster) paths() []path {
	one, two := c.nodes[0], c.nodes[1]
	pod := one.pods[0]
	world := addrs(world4, world6)
	return []path{
		{name: "pod to itself", from: pod.netns, at: pod.netns, to: pod.Addrs},
		{name: "pod to pod on its node", from: pod.netns, at: one.pods[1].netns, to: one.pods[1].Addrs, source: pod.Addrs},
		{name: "pod to pod on another node", from: pod.netns, at: two.pods[0].netns, to: two.pods[0].Addrs, source: pod.Addrs},
		{name: "node to its pod", from: one.netns, at: pod.netns, to: pod.Addrs, source: one.want.Routers},
		{name: "node to pod on another node", from: one.netns, at: two.pods[0].netns, to: two.pods[0].Addrs},
		{name: "pod to its router", from: pod.netns, at: one.netns, to: one.want.Routers, source: pod.Addrs},
		{name: "pod to its node", from: pod.netns, at: one.netns, to: one.want.Addrs, source: pod.Addrs},
		{name: toOtherNode, from: pod.netns, at: two.netns, to: two.want.Addrs},
		{name: "pod to the world", from: pod.netns, at: c.world, to: world, source: one.want.Addrs},
		{name: "node to the world", from: one.netns, at: c.world, to: world, source: one.want.Addrs},
	}
}

// TestMTU sends the largest packet that pods are told they may send, which may not be fragmented.
func TestMTU(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, m)
			mtu := c.nodes[0].ensureNode(t).MTU
			if mtu != m.mtu {
				t.Errorf("MTU = %d, want %d", mtu, m.mtu)
			}
			for _, path := range c.paths() {
				for _, to := range path.to {
					headers := 20 + 8
					if to.Is6() {
						headers = 40 + 8
					}
					c.wantPing(t, path, to, mtu-headers)
				}
			}
		})
	}
}

// TestIPsecIsObeyed needs root: what the host's policies say of packets between nodes holds for pods', here that none may
// leave in the clear.
func TestIPsecIsObeyed(t *testing.T) {
	c := newCluster(t, modes()["tunnel"])
	one, two := c.nodes[0], c.nodes[1]
	policy := fmt.Sprintf("policy add src %s dst %s dir out action block", one.want.Addrs[0], two.want.Addrs[0])
	across := path{name: "pod to pod on another node", from: one.pods[0].netns}
	for _, step := range []struct {
		policies string
		blocked  bool
	}{{"policy flush", false}, {policy, true}, {"policy flush", false}} {
		one.netns.Script(t, "ip xfrm "+step.policies)
		one.ensureNode(t)
		for _, to := range two.pods[0].Addrs {
			if !step.blocked {
				c.wantPing(t, across, to, 56)
			} else if out, err := across.from.Try(t, "ping", "-n", "-c2", "-i0.01", "-W1", to.String()); err == nil {
				t.Errorf("ping %s passed a policy that blocks it:\n%s", to, out)
			}
		}
	}
}

func (c *cluster) wantPing(t *testing.T, p path, to netip.Addr, size int) {
	t.Helper()
	out, err := p.from.Try(t, "ping", "-M", "do", "-n", "-c2", "-i0.01", "-W2", "-s", fmt.Sprint(size), to.String())
	if err != nil {
		t.Errorf("%s: ping %s with %d bytes: %v\n%s%s", p.name, to, size, err, out, c.drops(t))
	}
}

// wantConnect opens a connection, sends a body in both directions and looks at the source address.
func (c *cluster) wantConnect(t *testing.T, p path, to netip.Addr) {
	t.Helper()
	source, err := c.connect(t, p, to)
	if err != nil {
		t.Errorf("%s: connect to %s: %v\n%s", p.name, to, err, c.drops(t))
		return
	}
	if p.source != nil && !slices.Contains(p.source, source) {
		t.Errorf("%s: %s saw %s as source, want one of %s", p.name, to, source, p.source)
	}
}

const patience = 5 * time.Second

func (c *cluster) connect(t *testing.T, p path, to netip.Addr) (source netip.Addr, err error) {
	t.Helper()
	var listener net.Listener
	p.at.Do(t, func() { listener, err = net.Listen("tcp", netip.AddrPortFrom(to, 0).String()) })
	if err != nil {
		return source, err
	}
	defer listener.Close()
	sources := make(chan netip.Addr, 1)
	go echo(listener, sources)
	var conn net.Conn
	p.from.Do(t, func() { conn, err = net.DialTimeout("tcp", listener.Addr().String(), patience) })
	if err != nil {
		return source, err
	}
	defer conn.Close()
	if err := exchange(conn); err != nil {
		return source, err
	}
	return <-sources, nil
}

// echo sends one connection's bytes back.
func echo(listener net.Listener, sources chan<- netip.Addr) {
	defer close(sources)
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	sources <- conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	_, _ = io.Copy(conn, conn)
}

// exchange sends a body that needs many packets and wants it back.
func exchange(conn net.Conn) error {
	const size = 100_000
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, size))
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, conn, size); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return <-sent
}

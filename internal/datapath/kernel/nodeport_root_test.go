// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
	"github.com/ciliate-io/ciliate/internal/service"
)

const (
	nodePort    = 30080
	backendPort = 8080
)

// publish leads packets from outside that come to a port of the node to these backends, and to none if there is none.
func (n *clusterNode) publish(t *testing.T, at netip.AddrPort, e service.Entry, backends ...netip.Addr) {
	t.Helper()
	e.ID, e.Count = uint32(at.Port())<<1, uint32(len(backends))
	if at.Addr().Is6() {
		e.ID++
	}
	diff := service.Diff{PutBackends: map[service.Slot]netip.AddrPort{}, PutFrontends: map[service.Frontend]service.Entry{}}
	for i, addr := range backends {
		diff.PutBackends[service.Slot{ID: e.ID, Index: uint32(i)}] = netip.AddrPortFrom(addr, backendPort)
	}
	for _, protocol := range []service.Protocol{service.TCP, service.UDP} {
		diff.PutFrontends[service.Frontend{Addr: at, Protocol: protocol, Scope: service.OfWorld}] = e
	}
	if err := n.WriteServices(diff); err != nil {
		t.Fatal(err)
	}
}

// place is where a backend may be, and what it sees of a client from outside.
type place struct {
	netns  *lab.Netns
	addrs  []netip.Addr
	source []netip.Addr
}

// like is where the backend listens in the family of another address.
func (p place) like(other netip.Addr) netip.AddrPort {
	i := slices.IndexFunc(p.addrs, func(a netip.Addr) bool { return a.Is4() == other.Is4() })
	return netip.AddrPortFrom(p.addrs[i], backendPort)
}

func (c *cluster) places() map[string]place {
	one, two := c.nodes[0], c.nodes[1]
	world := addrs(world4, world6)
	return map[string]place{
		"a pod of the node":           {one.pods[0].netns, one.pods[0].Addrs, world},
		"a pod of another node":       {two.pods[0].netns, two.pods[0].Addrs, one.want.Routers},
		"a process of the node":       {one.netns, one.want.Addrs, world},
		"a process of another node":   {two.netns, two.want.Addrs, one.want.Addrs},
		"something outside the nodes": {c.world, addrs(world4, world6), one.want.Addrs},
	}
}

// TestNodePorts asks from the world, in every mode, for every place of a backend.
func TestNodePorts(t *testing.T) {
	for name, m := range modes() {
		if m.cfg.StackForwarding {
			continue // what comes from outside is kube-proxy's there
		}
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, m)
			for where, p := range c.places() {
				for i, addr := range c.nodes[0].want.Addrs {
					at := netip.AddrPortFrom(addr, uint16(nodePort+i))
					c.nodes[0].publish(t, at, service.Entry{}, p.like(addr).Addr())
					c.wantServed(t, where, at, p)
				}
			}
		})
	}
}

// wantServed talks TCP and UDP from the world with what listens behind a frontend.
func (c *cluster) wantServed(t *testing.T, where string, frontend netip.AddrPort, p place) {
	t.Helper()
	what, behind := fmt.Sprintf("%s behind %s", where, frontend), p.like(frontend.Addr())
	var listener net.Listener
	var packets net.PacketConn
	p.netns.Do(t, func() {
		var err, errUDP error
		listener, err = net.Listen("tcp", behind.String())
		packets, errUDP = net.ListenPacket("udp", behind.String())
		if err := errors.Join(err, errUDP); err != nil {
			t.Fatal(err)
		}
	})
	defer packets.Close()
	defer listener.Close()
	sources := make(chan netip.Addr, 1)
	go echo(listener, sources)
	if err := c.dial(t, "tcp", frontend, exchange); err != nil {
		t.Errorf("%s, TCP: %v\n%s", what, err, c.drops(t))
		return
	}
	if got := <-sources; !slices.Contains(p.source, got) {
		t.Errorf("%s saw %s, want one of %s", what, got, p.source)
	}
	go echoPackets(packets)
	// The second is of several fragments. The first time they may be too large for the way to the backend.
	for _, size := range []int{100, 4000} {
		talk := func(conn net.Conn) error { return exchangePacket(conn, size) }
		err := c.dial(t, "udp", frontend, talk)
		if err != nil && size > 1000 {
			err = c.dial(t, "udp", frontend, talk)
		}
		if err != nil {
			t.Errorf("%s, UDP of %d bytes: %v\n%s", what, size, err, c.drops(t))
		}
	}
}

func (c *cluster) dial(t *testing.T, network string, to netip.AddrPort, talk func(net.Conn) error) (err error) {
	t.Helper()
	var conn net.Conn
	c.world.Do(t, func() { conn, err = net.DialTimeout(network, to.String(), patience) })
	if err != nil {
		return err
	}
	defer conn.Close()
	return talk(conn)
}

func echoPackets(conn net.PacketConn) {
	buffer := make([]byte, 8192)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(buffer[:n], from)
	}
}

func exchangePacket(conn net.Conn, size int) error {
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(make([]byte, size)); err != nil {
		return err
	}
	n, err := conn.Read(make([]byte, 8192))
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes of %d came back", n, size)
	}
	return err
}

// TestNodePortsSayNo: at once where nobody can answer, and not at all where another node can.
func TestNodePortsSayNo(t *testing.T) {
	c := newCluster(t, modes()["tunnel"])
	n := c.nodes[0]
	for _, addr := range n.want.Addrs {
		at := netip.AddrPortFrom(addr, nodePort)
		talk := func(conn net.Conn) error { return exchangePacket(conn, 10) }
		n.publish(t, at, service.Entry{})
		for _, network := range []string{"tcp", "udp"} {
			start := time.Now()
			if err := c.dial(t, network, at, talk); !errors.Is(err, syscall.ECONNREFUSED) || time.Since(start) > time.Second {
				t.Errorf("%s to %s without backends: %v after %s\n%s", network, at, err, time.Since(start), c.drops(t))
			}
		}
		n.publish(t, at, service.Entry{Local: true})
		if err := c.briefly(t, at); !timedOut(err) {
			t.Errorf("to %s without local backends: %v", at, err)
		}
		n.publish(t, at, service.Entry{Guarded: true}, n.pods[0].Addrs[0])
		if err := c.briefly(t, at); !timedOut(err) {
			t.Errorf("to %s, which is for nobody: %v", at, err)
		}
	}
	for _, reason := range []string{"NO_BACKEND", "SOURCE_RANGE", "REFUSED"} {
		if drops := c.drops(t); !strings.Contains(drops, "ingress "+reason) {
			t.Errorf("no %s in\n%s", reason, drops)
		}
	}
}

func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// briefly waits no longer than it takes to see that nobody answers.
func (c *cluster) briefly(t *testing.T, to netip.AddrPort) (err error) {
	t.Helper()
	const impatience = 300 * time.Millisecond
	var conn net.Conn
	c.world.Do(t, func() { conn, err = net.DialTimeout("tcp", to.String(), impatience) })
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// TestSourcesAreLetIn has the world among those who may come.
func TestSourcesAreLetIn(t *testing.T) {
	c := newCluster(t, modes()["tunnel"])
	n := c.nodes[0]
	for i, addr := range n.want.Addrs {
		at := netip.AddrPortFrom(addr, nodePort)
		n.publish(t, at, service.Entry{Guarded: true}, n.pods[0].Addrs[i])
		id := uint32(nodePort)<<1 + uint32(i)
		allowed := prefixes("192.0.2.128/25", "2001:db8::/48")[i]
		if err := n.WriteServices(service.Diff{PutSources: []service.Source{{ID: id, Prefix: allowed}}}); err != nil {
			t.Fatal(err)
		}
		c.wantServed(t, "for "+allowed.String(), at, place{n.pods[0].netns, n.pods[0].Addrs, addrs(world4, world6)})
	}
}

// TestNodePortsLearnTheMTU sends what does not fit through the tunnel, which may not be cut.
func TestNodePortsLearnTheMTU(t *testing.T) {
	c := newCluster(t, modes()["tunnel"])
	n, backend := c.nodes[0], c.nodes[1].pods[0]
	for i, addr := range n.want.Addrs {
		at := netip.AddrPortFrom(addr, nodePort)
		n.publish(t, at, service.Entry{}, backend.Addrs[i])
		c.wantServed(t, "a pod behind the tunnel", at, place{backend.netns, backend.Addrs, n.want.Routers})
		// The first is lost, and the sender told.
		_ = c.dial(t, "udp", at, func(conn net.Conn) error {
			_, err := conn.Write(make([]byte, 1440))
			return err
		})
		if out := c.world.Run(t, "ip", "route", "get", addr.String()); !strings.Contains(out, "mtu 1450") {
			t.Errorf("the world has not learnt of the MTU to %s: %s", addr, out)
		}
	}
}

// TestConnectionsOutliveTheAgent: one of the world to a node port with its backend on another node, and one of a pod to
// the world.
func TestConnectionsOutliveTheAgent(t *testing.T) {
	for name, m := range map[string]mode{"tunnel": modes()["tunnel"], "native": modes()["native"], "direct server return": dsr()} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, m)
			n, backend := c.nodes[0], c.nodes[1].pods[0]
			var talks []func() error
			for i, addr := range n.want.Addrs {
				at := netip.AddrPortFrom(addr, nodePort)
				c.publishNodePort(t, nodePort, backend.Addrs[i])
				talks = append(talks,
					c.open(t, c.world, at, backend.netns, netip.AddrPortFrom(backend.Addrs[i], backendPort)),
					c.open(t, n.pods[0].netns, netip.AddrPortFrom(addrs(world4, world6)[i], backendPort), c.world,
						netip.AddrPortFrom(addrs(world4, world6)[i], backendPort)))
			}
			for i, node := range c.nodes {
				node.restart(t, m.cfg)
				node.ensureNode(t)
				for _, p := range node.pods {
					node.netns.Do(t, func() { node.ensurePod(t, p) })
				}
				c.tell(t, i)
				if err := node.SweepConnections(); err != nil {
					t.Fatal(err)
				}
			}
			for i, talk := range talks {
				if err := talk(); err != nil {
					t.Errorf("connection %d after the restart: %v\n%s", i, err, c.drops(t))
				}
			}
		})
	}
}

// open makes a connection, uses it, and returns how to use it again.
func (c *cluster) open(t *testing.T, from *lab.Netns, to netip.AddrPort, at *lab.Netns, behind netip.AddrPort) func() error {
	t.Helper()
	var listener net.Listener
	var conn net.Conn
	var err error
	at.Do(t, func() { listener, err = net.Listen("tcp", behind.String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go echo(listener, make(chan netip.Addr, 1))
	from.Do(t, func() { conn, err = net.DialTimeout("tcp", to.String(), patience) })
	if err != nil {
		t.Fatalf("connect to %s: %v\n%s", to, err, c.drops(t))
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := exchange(conn); err != nil {
		t.Fatalf("talk with %s: %v\n%s", to, err, c.drops(t))
	}
	return func() error { return exchange(conn) }
}

// TestPodsReachServicesByPackets: a pod whose sockets nobody translates, and itself among the backends.
func TestPodsReachServicesByPackets(t *testing.T) {
	const vip4, vip6 = "10.96.0.7", "fd00:96::7"
	for _, name := range []string{"tunnel", "native"} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, modes()[name])
			client := c.nodes[0].pods[0]
			places := c.places()
			places["itself"] = place{client.netns, client.Addrs, nil}
			places["a neighbour"] = place{c.nodes[0].pods[1].netns, c.nodes[0].pods[1].Addrs, nil}
			for where, p := range places {
				for _, vip := range addrs(vip4, vip6) {
					at := netip.AddrPortFrom(vip, 80)
					err := c.nodes[0].WriteServices(service.Diff{
						PutBackends:  map[service.Slot]netip.AddrPort{{ID: 7}: p.like(vip)},
						PutFrontends: map[service.Frontend]service.Entry{{Addr: at, Protocol: service.TCP}: {ID: 7, Count: 1}},
					})
					if err != nil {
						t.Fatal(err)
					}
					c.wantReached(t, where, client, at, p)
				}
			}
		})
	}
}

func (c *cluster) wantReached(t *testing.T, what string, client *pod, at netip.AddrPort, p place) {
	t.Helper()
	var listener net.Listener
	var err error
	p.netns.Do(t, func() { listener, err = net.Listen("tcp", p.like(at.Addr()).String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go echo(listener, make(chan netip.Addr, 1))
	var conn net.Conn
	client.netns.Do(t, func() { conn, err = net.DialTimeout("tcp", at.String(), patience) })
	if err == nil {
		err = exchange(conn)
		_ = conn.Close()
	}
	if err != nil {
		t.Errorf("%s by %s: %v\n%s", what, at, err, c.drops(t))
	}
}

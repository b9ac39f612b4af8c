// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
	"github.com/ciliate-io/ciliate/internal/service"
)

// dsr is native routing with direct server return.
func dsr() mode {
	m := modes()["native"]
	m.cfg.DirectReturn = true
	return m
}

// publishNodePort does so on every node, as the agents do: the backend's node knows node ports of others by its own.
func (c *cluster) publishNodePort(t *testing.T, port uint16, backend netip.Addr) {
	t.Helper()
	for _, n := range c.nodes {
		for _, addr := range n.want.Addrs {
			if addr.Is4() == backend.Is4() {
				n.publish(t, netip.AddrPortFrom(addr, port), service.Entry{}, backend)
			}
		}
	}
}

// TestDSR asks one node from the world, for every place of a backend: a pod of the other node sees the client, and
// the client the node that it asked. All others are as ever.
func TestDSR(t *testing.T) {
	c := newCluster(t, dsr())
	places := c.places()
	there := places["a pod of another node"]
	there.source = addrs(world4, world6)
	places["a pod of another node"] = there
	for where, p := range places {
		for i, addr := range c.nodes[0].want.Addrs {
			at := netip.AddrPortFrom(addr, uint16(nodePort+i))
			c.publishNodePort(t, at.Port(), p.like(addr).Addr())
			c.wantServed(t, where, at, p)
		}
	}
}

// TestDSROfABalancer has an address that is no node's.
func TestDSROfABalancer(t *testing.T) {
	const vip4, vip6 = "203.0.113.7", "2001:db8:7::7"
	c := newCluster(t, dsr())
	backend := c.nodes[1].pods[0]
	c.world.Script(t, "ip route add "+vip4+" via 192.0.2.1", "ip -6 route add "+vip6+" via 2001:db8::1")
	for i, vip := range addrs(vip4, vip6) {
		at := netip.AddrPortFrom(vip, 80)
		for _, n := range c.nodes {
			n.publish(t, at, service.Entry{}, backend.Addrs[i])
		}
		c.wantServed(t, "a pod of another node", at, place{backend.netns, backend.Addrs, addrs(world4, world6)})
	}
}

// TestDSRNamesKnownServices: what the backend's node does not know it does not believe, and says so.
func TestDSRNamesKnownServices(t *testing.T) {
	c := newCluster(t, dsr())
	for i, addr := range c.nodes[0].want.Addrs {
		at := netip.AddrPortFrom(addr, nodePort)
		c.nodes[0].publish(t, at, service.Entry{}, c.nodes[1].pods[0].Addrs[i])
		if err := c.briefly(t, at); !timedOut(err) {
			t.Errorf("to %s, which the backend's node does not know: %v", at, err)
		}
	}
	if drops := c.drops(t); !strings.Contains(drops, "node 2: ingress SERVICE_OPTION") {
		t.Errorf("nothing was refused:\n%s", drops)
	}
}

// TestDSRLearnsTheMTU: the option takes room of the client's packets, and on the way back a router has less.
func TestDSRLearnsTheMTU(t *testing.T) {
	c := newCluster(t, dsr())
	backend := c.nodes[1].pods[0]
	for i, addr := range c.nodes[0].want.Addrs {
		at := netip.AddrPortFrom(addr, nodePort)
		c.publishNodePort(t, nodePort, backend.Addrs[i])
		_ = c.dial(t, "udp", at, func(conn net.Conn) error {
			_, err := conn.Write(make([]byte, 1440))
			return err
		})
		room := []string{"mtu 1492", "mtu 1476"}[i]
		_ = c.dial(t, "udp", at, func(conn net.Conn) error {
			_, err := conn.Write(make([]byte, []int{1472, 1452}[i]))
			return err
		})
		if out := c.world.Run(t, "ip", "route", "get", addr.String()); !strings.Contains(out, room) {
			t.Errorf("the world has not learnt of the room to %s: %s%s", addr, out, c.drops(t))
		}
		c.wantServed(t, "with less room", at, place{backend.netns, backend.Addrs, addrs(world4, world6)})
	}
}

// TestDSRCutsWhatMayBeCut: the client cuts to what its own card takes, and hears of nothing.
func TestDSRCutsWhatMayBeCut(t *testing.T) {
	c := newCluster(t, dsr())
	backend := c.nodes[1].pods[0]
	c.publishNodePort(t, nodePort, backend.Addrs[0])
	var packets net.PacketConn
	var err error
	backend.netns.Do(t, func() {
		packets, err = net.ListenPacket("udp", netip.AddrPortFrom(backend.Addrs[0], backendPort).String())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	go echoPackets(packets)
	at := netip.AddrPortFrom(c.nodes[0].want.Addrs[0], nodePort)
	if err := c.dial(t, "udp", at, func(conn net.Conn) error { return exchangePacket(conn, 4000) }); err != nil {
		t.Errorf("4000 bytes to %s: %v\n%s", at, err, c.drops(t))
	}
	if out := c.world.Run(t, "ip", "route", "get", at.Addr().String()); strings.Contains(out, "mtu") {
		t.Errorf("the client was told of an MTU: %s", out)
	}
}

// TestDSRNamesTheServiceInEverySegment sends datagrams that the client's kernel hands on in one piece, to be cut later.
func TestDSRNamesTheServiceInEverySegment(t *testing.T) {
	const segment, segments = 1000, 3
	c := newCluster(t, dsr())
	backend := c.nodes[1].pods[0]
	for i, addr := range c.nodes[0].want.Addrs {
		at := netip.AddrPortFrom(addr, nodePort)
		c.publishNodePort(t, nodePort, backend.Addrs[i])
		var packets net.PacketConn
		var err error
		backend.netns.Do(t, func() {
			packets, err = net.ListenPacket("udp", netip.AddrPortFrom(backend.Addrs[i], backendPort).String())
		})
		if err != nil {
			t.Fatal(err)
		}
		defer packets.Close()
		go echoPackets(packets)
		if err := c.dial(t, "udp", at, func(conn net.Conn) error { return exchangeSegments(conn, segment, segments) }); err != nil {
			t.Errorf("to %s: %v\n%s", at, err, c.drops(t))
		}
	}
}

// exchangeSegments sends datagrams with one call, and wants each back.
func exchangeSegments(conn net.Conn, size, count int) error {
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	want := make([]byte, size*count)
	for i := range want {
		want[i] = byte(i / size)
	}
	if _, err := conn.Write(want); err != nil {
		return err
	}
	for i := range count {
		got := make([]byte, 2*size)
		n, err := conn.Read(got)
		if err != nil {
			return fmt.Errorf("read answer %d: %w", i, err)
		}
		if !bytes.Equal(got[:n], want[i*size:(i+1)*size]) {
			return fmt.Errorf("answer %d is not what was sent", i)
		}
	}
	return nil
}

// TestErrorsReachDSRBackends: beyond the world less fits, and what a router says to the Service is for the backend.
func TestErrorsReachDSRBackends(t *testing.T) {
	c := newCluster(t, dsr())
	far := c.newFar(t)
	backend := c.nodes[1].pods[0]
	for i, addr := range c.nodes[0].want.Addrs {
		at := netip.AddrPortFrom(addr, nodePort)
		c.publishNodePort(t, nodePort, backend.Addrs[i])
		c.answerLarge(t, backend.netns, netip.AddrPortFrom(backend.Addrs[i], backendPort))
		// The first answer is too large for the way, and the backend told so.
		ask := func() (err error) {
			far.Do(t, func() { err = askLarge(at) })
			return err
		}
		if err := ask(); err == nil {
			t.Errorf("what does not fit reached the client of %s", at)
		}
		if err := ask(); err != nil {
			t.Errorf("from %s, after the error: %v\n%s", at, err, c.drops(t))
		}
		client := []string{far4, far6}[i]
		if out := backend.netns.Run(t, "ip", "route", "get", client); !strings.Contains(out, "mtu 1300") {
			t.Errorf("the backend has not learnt of the MTU to %s: %s%s", client, out, c.drops(t))
		}
	}
}

const largeAnswer = 1400

// answerLarge answers each packet with one that may not be cut until somebody says that it must.
func (c *cluster) answerLarge(t *testing.T, at *lab.Netns, where netip.AddrPort) {
	t.Helper()
	var conn net.PacketConn
	var err error
	at.Do(t, func() { conn, err = net.ListenPacket("udp", where.String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		for {
			_, from, err := conn.ReadFrom(make([]byte, 100))
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(make([]byte, largeAnswer), from)
		}
	}()
}

func askLarge(at netip.AddrPort) error {
	conn, err := net.Dial("udp", at.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("question")); err != nil {
		return err
	}
	n, err := conn.Read(make([]byte, 2*largeAnswer))
	if err == nil && n != largeAnswer {
		err = fmt.Errorf("%d bytes of %d came", n, largeAnswer)
	}
	return err
}

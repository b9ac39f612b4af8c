// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// bridge is the link that all nodes share, in the namespace "fabric".
	bridge = "br0"
	// askFor is how long answers are waited for.
	askFor = 500 * time.Millisecond
)

// WhoHas asks on the nodes' link who has an address, and returns the MACs of all that answer.
func (c *Cluster) WhoHas(t *testing.T, addr netip.Addr) []string {
	t.Helper()
	fabric := &Node{Name: "fabric", cluster: c}
	var macs []string
	if err := within(fabric.NetnsPath(), func() (err error) {
		macs, err = whoHas(addr)
		return err
	}); err != nil {
		t.Fatalf("ask who has %s: %v", addr, err)
	}
	return macs
}

// MAC is that of the node's card.
func (n *Node) MAC(t *testing.T) string {
	t.Helper()
	handle, err := n.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	card, err := handle.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	return card.Attrs().HardwareAddr.String()
}

func whoHas(addr netip.Addr) ([]string, error) {
	asker, err := findAsker(addr)
	if err != nil {
		return nil, err
	}
	protocol := uint16(unix.ETH_P_ARP)
	if addr.Is6() {
		protocol = unix.ETH_P_IPV6
	}
	wire := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(wire))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	pause := unix.NsecToTimeval(int64(askFor / 5))
	if err := errors.Join(
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: wire, Ifindex: asker.index}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &pause),
		unix.Sendto(fd, asker.question(addr), 0, &unix.SockaddrLinklayer{Ifindex: asker.index, Halen: 6}),
	); err != nil {
		return nil, err
	}
	return collect(fd, addr)
}

// collect reads answers about an address until it is time.
func collect(fd int, addr netip.Addr) ([]string, error) {
	var macs []string
	frame := make([]byte, 2048)
	for deadline := time.Now().Add(askFor); time.Now().Before(deadline); {
		n, err := unix.Read(fd, frame)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if mac := answered(frame[:n], addr); mac != "" && !slices.Contains(macs, mac) {
			macs = append(macs, mac)
		}
	}
	return macs, nil
}

// asker is the bridge's own end.
type asker struct {
	index int
	mac   net.HardwareAddr
	addr  netip.Addr
}

// findAsker has an address of the family of the one that is asked for.
func findAsker(addr netip.Addr) (asker, error) {
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return asker{}, err
	}
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	addrs, err := netlink.AddrList(link, family)
	if err != nil {
		return asker{}, err
	}
	for _, a := range addrs {
		own, _ := netip.AddrFromSlice(a.IP)
		if own = own.Unmap(); own.IsGlobalUnicast() {
			return asker{index: link.Attrs().Index, mac: link.Attrs().HardwareAddr, addr: own}, nil
		}
	}
	return asker{}, fmt.Errorf("%s has no address of the family of %s", bridge, addr)
}

// question is a broadcast ARP request, or a neighbour solicitation to all nodes.
func (a asker) question(addr netip.Addr) []byte {
	if addr.Is4() {
		to := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		return slices.Concat(to, a.mac, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, a.mac, a.addr.AsSlice(), make([]byte, 6), addr.AsSlice())
	}
	body := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, addr.AsSlice(), []byte{1, 1}, a.mac)
	to := netip.IPv6LinkLocalAllNodes()
	ends := slices.Concat(a.addr.AsSlice(), to.AsSlice())
	var sum uint32
	for pseudo := slices.Concat(ends, []byte{0, 0, 0, byte(len(body)), 0, 0, 0, 58}, body); len(pseudo) > 0; pseudo = pseudo[2:] {
		sum += uint32(binary.BigEndian.Uint16(pseudo))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(body[2:], ^uint16(sum>>16+sum))
	header := []byte{0x60, 0, 0, 0, 0, byte(len(body)), 58, 255}
	return slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1}, a.mac, []byte{0x86, 0xdd}, header, ends, body)
}

// answered is the MAC that a frame says an address is at; empty when it says nothing about it.
func answered(frame []byte, addr netip.Addr) string {
	const ethernet, arp, ipv6, target = 14, 28, 40, 8
	if addr.Is4() {
		if len(frame) < ethernet+arp || binary.BigEndian.Uint16(frame[ethernet+6:]) != 2 || [4]byte(frame[ethernet+14:]) != addr.As4() {
			return ""
		}
		return net.HardwareAddr(frame[ethernet+8 : ethernet+14]).String()
	}
	if len(frame) < ethernet+ipv6+32 || frame[ethernet+6] != 58 || frame[ethernet+ipv6] != 136 || [16]byte(frame[ethernet+ipv6+target:]) != addr.As16() {
		return ""
	}
	return net.HardwareAddr(frame[ethernet+ipv6+26 : ethernet+ipv6+32]).String()
}

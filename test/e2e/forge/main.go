// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command forge plays an attacker in a pod: it sends frames of any content through a raw socket, or a tunnel packet
// through an ordinary one. What each kind claims is in frames.go; the kind "honest" claims nothing and must arrive.
//
//	forge -kind honest|source|mac|tunnel|... -from ADDRESS -to ADDRESS [-peer ADDRESS] [-vni N] [-text TEXT] [-count N]
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ports of what is forged, where the kind does not fix them.
const (
	victimPort = 7001
	tunnelPort = 8472
)

// plan is what the command line asks for.
type plan struct {
	kind     string
	from, to netip.Addr
	// peer is the node to which a tunnel packet goes.
	peer  netip.Addr
	vni   uint32
	text  string
	count int
	// mac and gateway are the pod's own MAC and that of its way out.
	mac, gateway net.HardwareAddr
	iface        *net.Interface
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "forge:", err)
		os.Exit(1)
	}
}

func run() error {
	p := plan{}
	device := flag.String("device", "eth0", "device to send through")
	from := flag.String("from", "", "source address (of the inner packet, for a tunnel)")
	to := flag.String("to", "", "destination address (of the inner packet, for a tunnel)")
	peer := flag.String("peer", "", "node to which a tunnel packet goes")
	vni := flag.Uint("vni", 0, "identity in the tunnel")
	gateway := flag.String("gateway", "", "MAC of the way out")
	flag.StringVar(&p.kind, "kind", "honest", "what to forge")
	flag.StringVar(&p.text, "text", "forged", "what the victim would read")
	flag.IntVar(&p.count, "count", 20, "packets")
	flag.Parse()
	var err error
	for _, a := range []struct {
		text string
		into *netip.Addr
	}{{*from, &p.from}, {*to, &p.to}, {*peer, &p.peer}} {
		if *a.into, err = parseAddr(a.text); err != nil {
			return err
		}
	}
	p.vni = uint32(*vni)
	if p.kind == "socket" {
		return p.throughSocket()
	}
	if p.iface, err = net.InterfaceByName(*device); err != nil {
		return err
	}
	p.mac = p.iface.HardwareAddr
	if p.gateway, err = net.ParseMAC(*gateway); err != nil {
		return err
	}
	return p.throughDevice()
}

func parseAddr(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(text)
}

// throughSocket sends tunnel packets as any program can: UDP to the tunnel port.
func (p plan) throughSocket() error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.peer, tunnelPort)))
	if err != nil {
		return err
	}
	defer conn.Close()
	for range p.count {
		if _, err := conn.Write(p.vxlan()); err != nil {
			// The answer to an earlier packet: the port is closed or refused, which the test finds out by itself.
			fmt.Fprintln(os.Stderr, "forge:", err)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// throughDevice sends whole frames.
func (p plan) throughDevice() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	defer unix.Close(fd)
	frames, err := p.frames()
	if err != nil {
		return err
	}
	for range p.count {
		for _, frame := range frames {
			to := &unix.SockaddrLinklayer{Ifindex: p.iface.Index, Protocol: binary.NativeEndian.Uint16(frame[12:14])}
			if err := unix.Sendto(fd, frame, 0, to); err != nil {
				return fmt.Errorf("send a frame: %w", err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// frames are what one round of the kind sends.
func (p plan) frames() ([][]byte, error) {
	udp := p.packet(p.from, p.to, 17, datagram(p.from, p.to, victimPort, victimPort, []byte(p.text)))
	switch p.kind {
	case "honest", "source":
		return [][]byte{ethernet(p.gateway, p.mac, udp)}, nil
	case "mac":
		return [][]byte{ethernet(p.gateway, net.HardwareAddr{2, 0, 0, 0, 0xba, 0xd0}, udp)}, nil
	case "destination-mac":
		return [][]byte{ethernet(net.HardwareAddr{2, 0, 0, 0, 0xba, 0xd0}, p.mac, udp)}, nil
	case "tunnel-fragments":
		return p.tunnelInFragments(), nil
	case "vlan":
		frame := ethernet(p.gateway, p.mac, udp)
		return [][]byte{slices.Concat(frame[:12], []byte{0x81, 0, 0, 7}, frame[12:])}, nil
	case "arp":
		return [][]byte{p.gratuitousARP()}, nil
	case "router-advertisement":
		return [][]byte{p.routerAdvertisement()}, nil
	case "redirect":
		return [][]byte{ethernet(p.gateway, p.mac, p.packet(p.from, p.to, 1, icmpRedirect(p.from, p.to)))}, nil
	case "dhcp-server":
		return [][]byte{ethernet(p.gateway, p.mac, p.packet(p.from, p.to, 17, datagram(p.from, p.to, 67, 68, []byte(p.text))))}, nil
	case "mapped":
		return [][]byte{ethernet(p.gateway, p.mac, ipv6(netip.AddrFrom16(p.from.As16()), netip.AddrFrom16(p.to.As16()), 17,
			datagram(p.from, p.to, victimPort, victimPort, []byte(p.text))))}, nil
	case "ethertype":
		frame := ethernet(p.gateway, p.mac, udp)
		binary.BigEndian.PutUint16(frame[12:], 0x88b5)
		return [][]byte{frame}, nil
	}
	return nil, fmt.Errorf("no kind %q", p.kind)
}

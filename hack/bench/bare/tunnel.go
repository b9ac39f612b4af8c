// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package bare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/hack/bench/load"
)

const (
	underlayMTU = 1500
	tunnelPort  = 8472
	tunnelName  = "vxlan"
)

// site is a node with one pod.
type site struct {
	node, pod       machine
	underlay        netip.Addr
	end             load.End
	tunnel          netlink.Link
	device, podHost netlink.Link
}

// Tunnel is two pods on two nodes: each behind a veth pair, the nodes joined by a bridge in a fifth namespace as those of
// hack/cluster are, VXLAN between them.
func (l *Lab) Tunnel(mtu int) ([2]load.End, error) {
	fabric, err := l.newMachine()
	if err != nil {
		return [2]load.End{}, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	if err := fabric.link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return [2]load.End{}, fmt.Errorf("make the bridge: %w", err)
	}
	bridge, err := fabric.up("br0")
	if err != nil {
		return [2]load.End{}, err
	}
	var sites [2]*site
	for i := range sites {
		if sites[i], err = l.newSite(i, fabric, bridge, mtu); err != nil {
			return [2]load.End{}, err
		}
	}
	for i, s := range sites {
		other := sites[1-i]
		err := errors.Join(
			s.pod.addr(s.device, netip.PrefixFrom(s.end.Addr, 24)),
			s.pod.neighbor(s.device, other.end.Addr, other.device.Attrs().HardwareAddr),
			l.program(s, other.underlay))
		if err != nil {
			return [2]load.End{}, err
		}
	}
	return [2]load.End{sites[0].end, sites[1].end}, nil
}

func (l *Lab) newSite(i int, fabric machine, bridge netlink.Link, mtu int) (*site, error) {
	s := &site{underlay: netip.AddrFrom4([4]byte{192, 168, 0, byte(i + 1)})}
	var err error
	if s.node, err = l.newMachine(); err != nil {
		return nil, err
	}
	if s.pod, err = l.newMachine(); err != nil {
		return nil, err
	}
	s.end = load.End{Netns: s.pod.ns, Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}
	port, card, err := fabric.veth(fmt.Sprint("p", i), s.node, underlayMTU)
	if err != nil {
		return nil, err
	}
	if err := fabric.link.LinkSetMaster(port, bridge); err != nil {
		return nil, fmt.Errorf("join the bridge: %w", err)
	}
	if err := s.node.addr(card, netip.PrefixFrom(s.underlay, 24)); err != nil {
		return nil, err
	}
	if s.podHost, s.device, err = s.node.veth("pod", s.pod, mtu); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = tunnelName, mtu
	if err := s.node.link.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, FlowBased: true, Port: tunnelPort}); err != nil {
		return nil, fmt.Errorf("make the VXLAN device: %w", err)
	}
	s.tunnel, err = s.node.up(tunnelName)
	return s, err
}

// program puts the two programs where they belong.
func (l *Lab) program(s *site, remote netip.Addr) error {
	addr := remote.As4()
	objects, err := l.load(map[string]uint32{
		"tunnel_ifindex": uint32(s.tunnel.Attrs().Index), "pod_ifindex": uint32(s.podHost.Attrs().Index),
		"remote_ipv4": binary.BigEndian.Uint32(addr[:]),
	})
	if err != nil {
		return err
	}
	if l.Programs == nil {
		l.Programs = map[string]*ebpf.Program{"into_tunnel": objects.IntoTunnel, "into_pod": objects.IntoPod}
	}
	return errors.Join(s.attach(s.podHost, objects.IntoTunnel), s.attach(s.tunnel, objects.IntoPod))
}

// attach puts a program on the ingress of a device.
func (s *site) attach(device netlink.Link, program *ebpf.Program) error {
	index := device.Attrs().Index
	if err := s.node.link.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}); err != nil {
		return fmt.Errorf("add clsact to %s: %w", device.Attrs().Name, err)
	}
	err := s.node.link.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Fd: program.FD(), Name: "bare", DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("attach to %s: %w", device.Attrs().Name, err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

const veth = "veth"

// Pair is what a pod's two devices shall be.
type Pair struct {
	// Host and Inside are the names on the node and in the sandbox.
	Host, Inside string
	// Owner is kept as the host side's alias; a device that says another one is replaced.
	Owner string
	// Netns is the path of the sandbox's network namespace.
	Netns string
	MTU   int
	// Addrs are the pod's addresses; Gateways its ways out, one a family.
	Addrs, Gateways []netip.Addr
}

// EnsurePair makes the pair, configured inside, its host side down unless an adopted one is up already.
func (l *Links) EnsurePair(p Pair) (datapath.Interface, error) {
	s, err := l.openSandbox(p.Netns)
	if err != nil {
		return datapath.Interface{}, err
	}
	defer s.close()
	host, inside, err := l.adoptPair(p, s)
	if err != nil {
		return datapath.Interface{}, err
	}
	if host == nil {
		if host, inside, err = l.createPair(p, s); err != nil {
			return datapath.Interface{}, err
		}
	}
	if err := l.sysctls.ensurePlain(p.Host); err != nil {
		return datapath.Interface{}, err
	}
	if err := s.configure(inside, p, host.Attrs().HardwareAddr); err != nil {
		return datapath.Interface{}, fmt.Errorf("configure %s in %s: %w", p.Inside, p.Netns, err)
	}
	return datapath.Interface{
		HostIndex: host.Attrs().Index,
		MAC:       inside.Attrs().HardwareAddr,
		HostMAC:   host.Attrs().HardwareAddr,
		MTU:       p.MTU,
	}, nil
}

// adoptPair returns the pair that is there. One of another owner, or that leads elsewhere, is removed.
func (l *Links) adoptPair(p Pair, s *sandbox) (host, inside netlink.Link, err error) {
	host, err = l.find(p.Host)
	if host == nil || err != nil {
		return nil, nil, err
	}
	if host.Type() != veth {
		return nil, nil, fmt.Errorf("%s is of kind %s: %w", p.Host, host.Type(), datapath.ErrForeignDevice)
	}
	inside, err = s.peerOf(host, p.Inside)
	if err != nil {
		return nil, nil, err
	}
	if inside == nil || host.Attrs().Alias != p.Owner {
		return nil, nil, l.Delete(p.Host, veth)
	}
	return host, inside, errors.Join(ensureMTU(l.nl, host, p.MTU), ensureMTU(s.nl, inside, p.MTU))
}

// peerOf is the device inside, if it is really the other end.
func (s *sandbox) peerOf(host netlink.Link, name string) (netlink.Link, error) {
	inside, err := s.nl.LinkByName(name)
	if err != nil && gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s in the sandbox: %w", name, err)
	}
	ends := inside.Type() == veth && inside.Attrs().ParentIndex == host.Attrs().Index &&
		host.Attrs().ParentIndex == inside.Attrs().Index
	if !ends {
		return nil, nil
	}
	return inside, nil
}

// createPair makes both ends in one message, the peer directly in the sandbox: moving it there later costs forty times
// as much. The alias comes last, so that a pair which was left half made has no owner and is replaced.
func (l *Links) createPair(p Pair, s *sandbox) (host, inside netlink.Link, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = p.Host, p.MTU
	if attrs.HardwareAddr, err = l.randomMAC(); err != nil {
		return nil, nil, err
	}
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerNamespace = p.Inside, netlink.NsFd(s.file.Fd())
	if pair.PeerHardwareAddr, err = l.randomMAC(); err != nil {
		return nil, nil, err
	}
	if err := l.nl.LinkAdd(pair); err != nil {
		return nil, nil, createError(p, err)
	}
	if inside, err = s.nl.LinkByName(p.Inside); err != nil {
		return nil, nil, fmt.Errorf("look up %s in the sandbox: %w", p.Inside, err)
	}
	if err := l.quieten(pair.Index); err != nil {
		return nil, nil, err
	}
	if err := l.nl.LinkSetAlias(pair, p.Owner); err != nil {
		return nil, nil, fmt.Errorf("set alias of %s: %w", p.Host, err)
	}
	return pair, inside, nil
}

// createError says which of the two names was taken: the host side was looked up before.
func createError(p Pair, err error) error {
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("create %s: the sandbox has a device %s already: %w", p.Host, p.Inside, datapath.ErrForeignDevice)
	}
	return fmt.Errorf("create %s with %s in %s: %w", p.Host, p.Inside, p.Netns, err)
}

// DeletePair removes both ends, by the host side's name.
func (l *Links) DeletePair(host string) error { return l.Delete(host, veth) }

// ensureMTU sets a device's MTU if it is another.
func ensureMTU(nl *netlink.Handle, device netlink.Link, mtu int) error {
	if device.Attrs().MTU == mtu {
		return nil
	}
	if err := nl.LinkSetMTU(device, mtu); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", device.Attrs().Name, mtu, err)
	}
	return nil
}

// HostSide is a pod's device on the node.
type HostSide struct {
	Name, Owner string
	Index       int
	Up          bool
}

// HostSides lists the pods' devices on the node.
func (l *Links) HostSides() ([]HostSide, error) {
	all, err := l.list()
	if err != nil {
		return nil, err
	}
	var sides []HostSide
	for _, device := range all {
		if attrs := device.Attrs(); device.Type() == veth && datapath.IsHostIfName(attrs.Name) {
			up := attrs.Flags&net.FlagUp != 0
			sides = append(sides, HostSide{Name: attrs.Name, Owner: attrs.Alias, Index: attrs.Index, Up: up})
		}
	}
	return sides, nil
}

// list returns all devices. A dump that was interrupted by a change is made again: a list that lacks a device would let
// its owner be taken for gone.
func (l *Links) list() ([]netlink.Link, error) {
	const attempts = 10
	var err error
	for range attempts {
		var all []netlink.Link
		if all, err = l.nl.LinkList(); err == nil {
			return all, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return nil, fmt.Errorf("list devices: %w", err)
}

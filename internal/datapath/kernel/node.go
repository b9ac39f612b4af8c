// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
	"github.com/ciliate-io/ciliate/internal/datapath/netfilter"
)

// What VXLAN adds to a packet: outer IP header, UDP, VXLAN, inner Ethernet.
const (
	tunnelOverhead4 = 20 + 8 + 8 + 14
	tunnelOverhead6 = 40 + 8 + 8 + 14
)

// EnsureNode makes the node's own part: devices, programs on cards and tunnel, routes to the other nodes' pods,
// masquerade. What is right is left alone; what is wanted no longer goes last.
func (d *Datapath) EnsureNode(ctx context.Context, want datapath.Node) (datapath.NodeState, error) {
	d.ensuring.Lock()
	defer d.ensuring.Unlock()
	devices, err := d.links.Devices(want.Addrs)
	if err != nil {
		return datapath.NodeState{}, err
	}
	if len(devices) == 0 {
		return datapath.NodeState{}, fmt.Errorf("addresses %v: %w", want.Addrs, datapath.ErrNoDevice)
	}
	if d.cfg.Native {
		if err := refuseBare(devices); err != nil {
			return datapath.NodeState{}, err
		}
	}
	made := &node{Node: want, mtu: link.MTU(devices, d.overhead(want)), cards: cards(devices)}
	if err := d.makeNode(ctx, made, devices); err != nil {
		return datapath.NodeState{}, err
	}
	d.mu.Lock()
	d.node = made
	d.mu.Unlock()
	if err := d.repairEndpoints(made); err != nil {
		return datapath.NodeState{}, err
	}
	return datapath.NodeState{
		MTU: made.mtu, Devices: names(devices), Accelerated: names(made.accelerated), Plain: made.plain,
	}, nil
}

// makeNode does it in order: first what packets need on their way, then the ways, then the removal of old ones.
func (d *Datapath) makeNode(ctx context.Context, n *node, devices []link.Device) error {
	if err := d.links.EnsureForwarding(n.Routers, devices); err != nil {
		return err
	}
	if err := d.links.EnsureHost(n.Routers, n.mtu); err != nil {
		return err
	}
	tunnel, err := d.ensureTunnel(n)
	if err != nil {
		return err
	}
	routes, err := d.wantRoutes(n, tunnel)
	if err != nil {
		return err
	}
	exits, err := d.links.Exits(n.Addrs)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return d.maps.SyncCards(exitCards(n, exits)) },
		func() error { return d.attachCards(exits) },
		func() error { return d.accelerate(n, devices) },
		func() error { return d.links.AddRoutes(routes) },
		netfilter.RemoveOldTable,
		d.untrackTunnel,
		d.plainPods,
		func() error { return d.prune(routes, exits) },
	} {
		if err := errors.Join(ctx.Err(), step()); err != nil {
			return err
		}
	}
	return nil
}

// overhead is what the way to another node takes from each packet. The tunnel runs over the family of a node's first
// address; IPv6 takes more, so one such node is enough.
func (d *Datapath) overhead(want datapath.Node) int {
	if d.cfg.Native {
		return 0
	}
	nodes := [][]netip.Addr{want.Addrs}
	for _, peer := range want.Peers {
		nodes = append(nodes, peer.Addrs)
	}
	if slices.ContainsFunc(nodes, func(addrs []netip.Addr) bool { return len(addrs) > 0 && addrs[0].Is6() }) {
		return tunnelOverhead6
	}
	return tunnelOverhead4
}

// ensureTunnel returns the tunnel device's number, 0 in native routing. The device is raised when its programs and what
// they read are in place.
func (d *Datapath) ensureTunnel(n *node) (int, error) {
	if d.cfg.Native {
		return 0, d.setNode(n, 0)
	}
	if len(n.Addrs) == 0 {
		return 0, fmt.Errorf("make the tunnel: %w", datapath.ErrNoDevice)
	}
	tunnel := link.Tunnel{Port: d.cfg.TunnelPort, MTU: n.mtu, MAC: link.TunnelMAC(n.Addrs[0])}
	index, err := d.links.EnsureTunnel(tunnel)
	if err != nil {
		return 0, err
	}
	if err := d.setNode(n, index); err != nil {
		return 0, err
	}
	if err := d.objects.AttachOverlay(index); err != nil {
		return 0, fmt.Errorf("attach programs to %s: %w", link.TunnelDevice, err)
	}
	return index, d.links.RaiseTunnel(index, d.cfg.TunnelPort)
}

// untrackTunnel keeps the tunnel's packets out of the host's connection tracking.
func (d *Datapath) untrackTunnel() error {
	if d.cfg.Native {
		return netfilter.RemoveUntracked()
	}
	return netfilter.EnsureUntracked(d.cfg.TunnelPort)
}

func (d *Datapath) setNode(n *node, tunnel int) error {
	first, last, err := d.ensureNATPorts()
	if err != nil {
		return err
	}
	encrypts, err := d.links.Encrypts()
	if err != nil {
		return err
	}
	return d.maps.SetNode(maps.NodeConfig{
		TunnelIfindex: tunnel, MTU: n.mtu, Addrs: n.Addrs, Routers: n.Routers, NATFirst: first, NATLast: last,
		Encapsulate: !encrypts,
	})
}

// attachCards puts programs on every device by which packets leave. A card that is no Ethernet can carry the tunnel, but
// not route pods' packets.
func (d *Datapath) attachCards(exits []link.Device) error {
	for _, device := range exits {
		if err := d.objects.AttachNetdev(device.Index); err != nil {
			return fmt.Errorf("attach programs to %s: %w", device.Name, err)
		}
	}
	return nil
}

// plainPods checks the sysctls of pods' devices: udev's rules come later than the device.
func (d *Datapath) plainPods() error {
	sides, err := d.links.HostSides()
	if err != nil {
		return err
	}
	var pods []string
	for _, side := range sides {
		pods = append(pods, side.Name)
	}
	return d.links.EnsurePlain(pods)
}

// prune removes what an earlier configuration left.
func (d *Datapath) prune(routes []link.Route, exits []link.Device) error {
	if err := d.links.PruneRoutes(routes); err != nil {
		return err
	}
	if d.cfg.Native {
		if err := d.links.DeleteTunnel(); err != nil {
			return err
		}
	}
	if err := d.pruneAnnouncements(exits); err != nil {
		return err
	}
	others, err := d.links.Others(exits)
	if err != nil {
		return err
	}
	for _, other := range others {
		if err := d.objects.DetachNetdev(other.Index); err != nil {
			return fmt.Errorf("detach programs from %s: %w", other.Name, err)
		}
	}
	return d.objects.PruneLinks()
}

// refuseBare names a card by which pods' packets cannot be routed.
func refuseBare(devices []link.Device) error {
	for _, device := range devices {
		if !device.Ethernet {
			return fmt.Errorf("native routing by %s, which is no Ethernet device: %w", device.Name, errors.ErrUnsupported)
		}
	}
	return nil
}

func names(devices []link.Device) []string {
	var all []string
	for _, device := range devices {
		all = append(all, device.Name)
	}
	return all
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// pins is where the agent keeps its maps, as the node sees it.
const pins = "/sys/fs/bpf/ciliate"

// Kernel is what a node's kernel holds of ours.
type Kernel struct {
	// Devices are the host sides of pods, by name.
	Devices map[string]Device
	// Endpoints are the addresses of the map endpoints, with the device that each names.
	Endpoints map[netip.Addr]int
	// Interfaces are the devices of the map endpoint_ifs.
	Interfaces map[int]bool
	// Addresses are those of the map ipcache, with their identity.
	Addresses map[netip.Addr]uint32
	// Identities are those of the map identities.
	Identities map[uint32]bool
}

// Device is the host side of a pod.
type Device struct {
	Index   int
	Owner   string // UID of its CiliumEndpoint
	Up      bool
	Filters int
	Tags    []string // of the programs of its filters
}

// Kernel looks into the node's kernel.
func (n *Node) Kernel() (Kernel, error) {
	k := Kernel{
		Devices: map[string]Device{}, Endpoints: map[netip.Addr]int{}, Interfaces: map[int]bool{},
		Addresses: map[netip.Addr]uint32{}, Identities: map[uint32]bool{},
	}
	return k, errors.Join(n.devices(k), n.maps(k))
}

// Netlink is a handle in the node's network namespace.
func (n *Node) Netlink() (*netlink.Handle, error) {
	ns, err := netns.GetFromPath(n.NetnsPath())
	if err != nil {
		return nil, fmt.Errorf("enter the network of %s: %w", n.Name, err)
	}
	defer ns.Close()
	return netlink.NewHandleAt(ns)
}

func (n *Node) devices(k Kernel) error {
	handle, err := n.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	links, err := handle.LinkList()
	if err != nil {
		return fmt.Errorf("list the devices of %s: %w", n.Name, err)
	}
	for _, link := range links {
		attrs := link.Attrs()
		if !datapath.IsHostIfName(attrs.Name) {
			continue
		}
		device := Device{Index: attrs.Index, Owner: strings.TrimSpace(attrs.Alias), Up: attrs.RawFlags&1 != 0}
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			filters, err := handle.FilterList(link, parent)
			if err != nil {
				return fmt.Errorf("list the filters of %s: %w", attrs.Name, err)
			}
			device.Filters += len(filters)
			for _, filter := range filters {
				if program, ok := filter.(*netlink.BpfFilter); ok {
					device.Tags = append(device.Tags, program.Tag)
				}
			}
		}
		k.Devices[attrs.Name] = device
	}
	return nil
}

func (n *Node) maps(k Kernel) error {
	var address [16]byte
	var place bpfgen.PodEndpoint
	var index, identity uint32
	var owner bpfgen.PodEndpointIf
	var cached bpfgen.PodIpcacheEntry
	return errors.Join(
		n.each("endpoints", &address, &place, func() { k.Endpoints[unmap(address)] = int(place.Ifindex) }),
		n.each("endpoint_ifs", &index, &owner, func() { k.Interfaces[int(index)] = true }),
		n.each("ipcache", &address, &cached, func() { k.Addresses[unmap(address)] = cached.Identity }),
		n.each("identities", &identity, new(uint32), func() { k.Identities[identity] = true }),
	)
}

func unmap(address [16]byte) netip.Addr { return netip.AddrFrom16(address).Unmap() }

// each calls visit for every entry of a pinned map. No map means no entries.
func (n *Node) each(name string, key, value any, visit func()) error {
	path, err := n.Path(filepath.Join(pins, name))
	if err != nil {
		return err
	}
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open map %s of %s: %w", name, n.Name, err)
	}
	defer m.Close()
	entries := m.Iterate()
	for entries.Next(key, value) {
		visit()
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read map %s of %s: %w", name, n.Name, err)
	}
	return nil
}

// Tombstones lists the node's tombstones as "container-interface".
func (n *Node) Tombstones() ([]string, error) {
	folder, err := n.Path("/run/cilium/deletes")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list the tombstones of %s: %w", n.Name, err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

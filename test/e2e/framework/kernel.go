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
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

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
	Index    int
	Owner    string // UID of its CiliumEndpoint
	Up       bool
	Programs []string // tags of those that it runs, by filters and by TCX
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
	for _, found := range links {
		attrs := found.Attrs()
		if !datapath.IsHostIfName(attrs.Name) {
			continue
		}
		device := Device{Index: attrs.Index, Owner: strings.TrimSpace(attrs.Alias), Up: attrs.RawFlags&1 != 0}
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			filters, err := handle.FilterList(found, parent)
			if err != nil {
				return fmt.Errorf("list the filters of %s: %w", attrs.Name, err)
			}
			for _, filter := range filters {
				if program, ok := filter.(*netlink.BpfFilter); ok {
					device.Programs = append(device.Programs, program.Tag)
				}
			}
		}
		k.Devices[attrs.Name] = device
	}
	return within(n.NetnsPath(), func() error { return addTCX(k) })
}

// addTCX adds what the devices run by TCX. The kernel understands their numbers as those of the caller's network namespace.
func addTCX(k Kernel) error {
	for name, device := range k.Devices {
		found, err := link.QueryPrograms(link.QueryOptions{Target: device.Index, Attach: ebpf.AttachTCXIngress})
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
			continue // a kernel without TCX; a device that has gone meanwhile
		}
		if err != nil {
			return fmt.Errorf("ask what %s runs: %w", name, err)
		}
		for _, program := range found.Programs {
			tag, err := tagOf(program.ID)
			if err != nil {
				return fmt.Errorf("look at program %d of %s: %w", program.ID, name, err)
			}
			device.Programs = append(device.Programs, tag)
		}
		k.Devices[name] = device
	}
	return nil
}

func tagOf(id ebpf.ProgramID) (string, error) {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", err
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return "", err
	}
	return info.Tag, nil
}

// within does the deed in a network namespace, on a thread of its own.
func within(namespace string, deed func() error) error {
	ns, err := netns.GetFromPath(namespace)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", namespace, err)
	}
	defer ns.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", namespace, err)
			return
		}
		done <- deed()
	}()
	return <-done
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

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/service"
)

// MTU is what the fake's node gives to pods.
const MTU = 1450

// Datapath remembers. Its methods may be called by several goroutines.
type Datapath struct {
	mu            sync.Mutex
	node          *datapath.Node
	sandboxes     map[string]bool // false once closed
	devices       map[string]device
	entries       map[int]datapath.Endpoint // by the device's number
	routes        map[netip.Prefix]datapath.Route
	identities    map[datapath.Identity]bool
	services      service.State
	sockets       bool
	announcements map[datapath.Announcement]bool
	counts        []datapath.Count
	foreign       string
	plain         string
	lastIndex     int
	watchers      []chan struct{}

	calls  []string
	count  map[string]int
	faults []*fault
}

// device is a pair of devices.
type device struct {
	owner, netns string
	ifc          datapath.Interface
	up           bool
}

// New makes an empty one; sandboxes are added with AddSandbox.
func New() *Datapath {
	return &Datapath{
		sandboxes:     map[string]bool{},
		devices:       map[string]device{},
		entries:       map[int]datapath.Endpoint{},
		routes:        map[netip.Prefix]datapath.Route{},
		identities:    map[datapath.Identity]bool{},
		services:      emptyServices(),
		announcements: map[datapath.Announcement]bool{},
		count:         map[string]int{},
	}
}

// EnsureNode remembers the node.
func (d *Datapath) EnsureNode(ctx context.Context, want datapath.Node) (datapath.NodeState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, "EnsureNode"); err != nil {
		return datapath.NodeState{}, err
	}
	if len(want.Addrs) == 0 {
		return datapath.NodeState{}, datapath.ErrNoDevice
	}
	d.node = &want
	state := datapath.NodeState{MTU: MTU, Devices: []string{card}}
	switch {
	case want.Accelerate && d.plain != "":
		state.Plain = []datapath.PlainDevice{{Name: card, Reason: d.plain}}
	case want.Accelerate:
		state.Accelerated = []string{card}
	}
	return state, nil
}

// EnsureInterface remembers a device, down.
func (d *Datapath) EnsureInterface(ctx context.Context, ep datapath.Endpoint) (datapath.Interface, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, "EnsureInterface"); err != nil {
		return datapath.Interface{}, err
	}
	if d.node == nil {
		return datapath.Interface{}, datapath.ErrNoNode
	}
	if open, known := d.sandboxes[ep.Netns]; !known {
		return datapath.Interface{}, fmt.Errorf("%s: %w", ep.Netns, datapath.ErrInvalidNetns)
	} else if !open {
		return datapath.Interface{}, fmt.Errorf("%s: %w", ep.Netns, datapath.ErrSandboxGone)
	}
	have, there := d.devices[ep.HostIfName]
	if there && have.owner == ep.UID && have.netns == ep.Netns {
		return have.ifc, nil
	}
	d.lastIndex++
	made := device{owner: ep.UID, netns: ep.Netns, ifc: datapath.Interface{
		HostIndex: d.lastIndex,
		MAC:       net.HardwareAddr{2, 0, 0, 1, byte(d.lastIndex >> 8), byte(d.lastIndex)},
		HostMAC:   net.HardwareAddr{2, 0, 0, 2, byte(d.lastIndex >> 8), byte(d.lastIndex)},
		MTU:       MTU,
	}}
	d.devices[ep.HostIfName] = made
	return made.ifc, nil
}

// EnsureEndpoint remembers the entry and raises the device.
func (d *Datapath) EnsureEndpoint(ctx context.Context, ep datapath.Endpoint, ifc datapath.Interface) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, "EnsureEndpoint"); err != nil {
		return err
	}
	if d.node == nil {
		return datapath.ErrNoNode
	}
	side, there := d.devices[ep.HostIfName]
	if !there || side.ifc.HostIndex != ifc.HostIndex {
		return fmt.Errorf("device %s with number %d does not exist", ep.HostIfName, ifc.HostIndex)
	}
	for index, other := range d.entries {
		other.Addrs = without(other.Addrs, ep.Addrs)
		d.entries[index] = other
	}
	ep.Addrs = slices.Clone(ep.Addrs)
	d.entries[ifc.HostIndex] = ep
	side.up = true
	d.devices[ep.HostIfName] = side
	return nil
}

// RemoveEndpoint forgets the entry and lowers the device.
func (d *Datapath) RemoveEndpoint(ctx context.Context, ep datapath.Endpoint) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, "RemoveEndpoint"); err != nil {
		return err
	}
	if side, there := d.devices[ep.HostIfName]; there {
		side.up = false
		d.devices[ep.HostIfName] = side
		delete(d.entries, side.ifc.HostIndex)
		return nil
	}
	for index, entry := range d.entries {
		alive := d.hasDevice(index)
		if !alive && len(without(entry.Addrs, ep.Addrs)) < len(entry.Addrs) {
			delete(d.entries, index)
		}
	}
	return nil
}

// SettleEndpoint records that it was called.
func (d *Datapath) SettleEndpoint(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begin(ctx, "SettleEndpoint")
}

func (d *Datapath) hasDevice(index int) bool {
	for _, side := range d.devices {
		if side.ifc.HostIndex == index {
			return true
		}
	}
	return false
}

// DeleteInterface forgets the device.
func (d *Datapath) DeleteInterface(ctx context.Context, hostIfName string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, "DeleteInterface"); err != nil {
		return err
	}
	if !datapath.IsHostIfName(hostIfName) {
		return fmt.Errorf("delete device %q: %w", hostIfName, datapath.ErrForeignDevice)
	}
	delete(d.devices, hostIfName)
	return nil
}

// Endpoints joins devices and entries.
func (d *Datapath) Endpoints(ctx context.Context) ([]datapath.Observed, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, "Endpoints"); err != nil {
		return nil, err
	}
	byIndex := map[int]datapath.Observed{}
	for index, entry := range d.entries {
		byIndex[index] = datapath.Observed{
			HostIndex: index, ID: entry.ID, Identity: entry.Identity, Addrs: slices.Clone(entry.Addrs),
		}
	}
	for name, side := range d.devices {
		observed := byIndex[side.ifc.HostIndex]
		observed.UID, observed.HostIfName, observed.HostIndex = side.owner, name, side.ifc.HostIndex
		byIndex[side.ifc.HostIndex] = observed
	}
	var all []datapath.Observed
	for _, observed := range byIndex {
		all = append(all, observed)
	}
	slices.SortFunc(all, func(a, b datapath.Observed) int { return cmp.Compare(a.HostIndex, b.HostIndex) })
	return all, nil
}

func without(addrs, gone []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(gone, a) })
}

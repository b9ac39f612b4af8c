// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// Cards are the devices on whose links the node can announce addresses; none before EnsureNode.
func (d *Datapath) Cards() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.node == nil {
		return nil
	}
	return slices.Clone(d.node.cards)
}

// cards are those of the devices that have neighbours.
func cards(devices []link.Device) []string {
	var out []string
	for _, device := range devices {
		if device.Ethernet {
			out = append(out, device.Name)
		}
	}
	return out
}

// Announce makes the node answer for addresses for so long, and tells neighbours of those for which it did not until now.
func (d *Datapath) Announce(list []datapath.Announcement, long time.Duration) error {
	var errs []error
	for _, a := range list {
		errs = append(errs, d.announce(a, long))
	}
	return errors.Join(errs...)
}

func (d *Datapath) announce(a datapath.Announcement, long time.Duration) error {
	index, mac, err := d.links.Card(a.Device)
	if err != nil {
		return err
	}
	if index == 0 {
		return fmt.Errorf("announce %s on %s: %w", a.Addr, a.Device, datapath.ErrNoDevice)
	}
	fresh, err := d.maps.PutAnnouncement(maps.Announced{Addr: a.Addr, Index: index}, mac, long)
	if err != nil || !fresh {
		return err
	}
	return d.links.Advertise(index, mac, a.Addr)
}

// Withdraw ends the answers for addresses. A device that is gone answers no more.
func (d *Datapath) Withdraw(list []datapath.Announcement) error {
	var gone []maps.Announced
	for _, a := range list {
		index, err := d.links.Index(a.Device)
		if err != nil {
			return err
		}
		if index != 0 {
			gone = append(gone, maps.Announced{Addr: a.Addr, Index: index})
		}
	}
	return d.maps.DeleteAnnouncements(gone)
}

// Announcements lists what was announced and not withdrawn, in force or not any more.
func (d *Datapath) Announcements() ([]datapath.Announcement, error) {
	list, err := d.maps.Announcements()
	if err != nil {
		return nil, err
	}
	names, err := d.links.Names()
	if err != nil {
		return nil, err
	}
	var out []datapath.Announcement
	for _, a := range list {
		if name, there := names[a.Index]; there {
			out = append(out, datapath.Announcement{Addr: a.Addr, Device: name})
		}
	}
	return out, nil
}

// pruneAnnouncements forgets those on devices that are no cards any more.
func (d *Datapath) pruneAnnouncements(devices []link.Device) error {
	list, err := d.maps.Announcements()
	if err != nil {
		return err
	}
	return d.maps.DeleteAnnouncements(slices.DeleteFunc(list, func(a maps.Announced) bool {
		return slices.ContainsFunc(devices, func(device link.Device) bool { return device.Index == a.Index })
	}))
}

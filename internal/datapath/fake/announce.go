// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"context"
	"fmt"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// Cards is eth0, once there is a node.
func (d *Datapath) Cards() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.node == nil {
		return nil
	}
	return []string{card}
}

// card is the only device of the fake's node.
const card = "eth0"

// Announce remembers addresses. It tells nobody, and forgets nothing with time.
func (d *Datapath) Announce(list []datapath.Announcement, _ time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "Announce"); err != nil {
		return err
	}
	for _, a := range list {
		if a.Device != card {
			return fmt.Errorf("announce %s on %s: %w", a.Addr, a.Device, datapath.ErrNoDevice)
		}
		d.announcements[a] = true
	}
	return nil
}

// Withdraw forgets addresses.
func (d *Datapath) Withdraw(list []datapath.Announcement) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "Withdraw"); err != nil {
		return err
	}
	for _, a := range list {
		delete(d.announcements, a)
	}
	return nil
}

// Announcements lists what is remembered.
func (d *Datapath) Announcements() ([]datapath.Announcement, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "Announcements"); err != nil {
		return nil, err
	}
	var out []datapath.Announcement
	for a := range d.announcements {
		out = append(out, a)
	}
	return out, nil
}

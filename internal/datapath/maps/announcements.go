// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// Announced is an address for which the node answers on a card's link.
type Announced struct {
	Addr  netip.Addr
	Index int
}

// PutAnnouncement makes the node answer with this MAC for so long. It tells whether it has not done so until now.
func (m *Maps) PutAnnouncement(a Announced, mac net.HardwareAddr, long time.Duration) (fresh bool, err error) {
	now, err := sinceBoot()
	if err != nil {
		return false, err
	}
	want := bpfgen.Announcement{Until: uint64(now + long)}
	copy(want.Mac[:], mac)
	var have bpfgen.Announcement
	err = m.announcements.Lookup(announcementKey(a), &have)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, fmt.Errorf("read the announcement of %s: %w", a.Addr, err)
	}
	fresh = have.Mac != want.Mac || have.Until <= uint64(now)
	if err := m.announcements.Put(announcementKey(a), want); err != nil {
		return false, fmt.Errorf("write the announcement of %s: %w", a.Addr, err)
	}
	return fresh, nil
}

// DeleteAnnouncements ends answers; what is not there is no error.
func (m *Maps) DeleteAnnouncements(list []Announced) error {
	keys := make([]bpfgen.AnnouncementKey, len(list))
	for i, a := range list {
		keys[i] = announcementKey(a)
	}
	return drop(m.announcements, keys)
}

// Announcements lists what is in the map, in force or not any more.
func (m *Maps) Announcements() ([]Announced, error) {
	entries, err := dump[bpfgen.AnnouncementKey, bpfgen.Announcement](m.announcements)
	if err != nil {
		return nil, err
	}
	out := make([]Announced, 0, len(entries))
	for k := range entries {
		out = append(out, Announced{Addr: addr(k.Addr.B), Index: int(k.Ifindex)})
	}
	return out, nil
}

func announcementKey(a Announced) bpfgen.AnnouncementKey {
	k := bpfgen.AnnouncementKey{Ifindex: uint32(a.Index)}
	k.Addr.B = key(a.Addr)
	return k
}

// sinceBoot is the clock by which the programs tell whether an announcement is in force.
func sinceBoot() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

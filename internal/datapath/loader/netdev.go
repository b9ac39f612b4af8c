// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// place is where a program of a device of the node goes.
type place struct {
	program string
	side    hook
	tcx     ebpf.AttachType
}

// cardPlaces says what a card runs.
func cardPlaces() []place {
	return []place{
		{program: "from_netdev", side: ingress, tcx: ebpf.AttachTCXIngress},
		{program: "to_netdev", side: egress, tcx: ebpf.AttachTCXEgress},
	}
}

// barePlaces says what a device without MAC addresses runs.
func barePlaces() []place {
	return []place{
		{program: "from_bare", side: ingress, tcx: ebpf.AttachTCXIngress},
		{program: "to_bare", side: egress, tcx: ebpf.AttachTCXEgress},
	}
}

// overlayPlaces says what the tunnel device runs.
func overlayPlaces() []place {
	return []place{
		{program: "from_overlay", side: ingress, tcx: ebpf.AttachTCXIngress},
		{program: "to_overlay", side: egress, tcx: ebpf.AttachTCXEgress},
	}
}

// AttachOverlay puts from_overlay and to_overlay on the tunnel device.
func (o *Objects) AttachOverlay(ifindex int) error {
	return o.attachPlaces(ifindex, overlayPlaces())
}

// AttachNetdev puts our programs on a card: those for Ethernet, or those for packets that begin with their IP header.
func (o *Objects) AttachNetdev(ifindex int) error {
	device, err := o.netlink.LinkByIndex(ifindex)
	if err != nil {
		return fmt.Errorf("look at device %d: %w", ifindex, err)
	}
	places := barePlaces()
	if device.Attrs().EncapType == "ether" {
		places = cardPlaces()
	}
	return o.attachPlaces(ifindex, places)
}

// attachPlaces makes the programs pinned links where the kernel has TCX, elsewhere clsact filters. A link costs a packet
// less than a filter, but to make one takes milliseconds, which a pod's ADD does not have.
func (o *Objects) attachPlaces(ifindex int, places []place) error {
	for _, p := range places {
		err := o.attachTCX(ifindex, p)
		if errors.Is(err, ebpf.ErrNotSupported) {
			err = o.attachPlaceFilter(ifindex, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// DetachNetdev takes everything of ours off a card. One that is gone already is no error.
func (o *Objects) DetachNetdev(ifindex int) error {
	for _, p := range append(cardPlaces(), barePlaces()...) {
		if err := o.detachPlace(ifindex, p); err != nil {
			return err
		}
	}
	return nil
}

// PruneLinks removes the pins whose device is gone, with the tunnel or by another's hand: such a link only holds its program.
func (o *Objects) PruneLinks() error {
	for _, p := range slices.Concat(cardPlaces(), barePlaces(), overlayPlaces()) {
		pins, err := filepath.Glob(filepath.Join(o.links, p.program+"-*"))
		if err != nil {
			return fmt.Errorf("list pinned links of %s: %w", p.program, err)
		}
		for _, pin := range pins {
			if err := pruneLink(pin); err != nil {
				return err
			}
		}
	}
	return nil
}

func pruneLink(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return fmt.Errorf("open pinned link %s: %w", pin, err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return fmt.Errorf("look at pinned link %s: %w", pin, err)
	}
	if deviceOf(info) != 0 {
		return nil
	}
	return removeIfThere(pin)
}

func (o *Objects) attachPlaceFilter(ifindex int, p place) error {
	if _, err := o.ensureClsact(ifindex); err != nil {
		return err
	}
	return o.ensureFilter(ifindex, p.side, p.program)
}

func (o *Objects) detachPlace(ifindex int, p place) error {
	if err := removeIfThere(o.linkPin(ifindex, p)); err != nil {
		return fmt.Errorf("detach %s from device %d: %w", p.program, ifindex, err)
	}
	if err := o.removeFilter(ifindex, p.side); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// attachTCX updates the pinned link, or makes one.
func (o *Objects) attachTCX(ifindex int, p place) error {
	pin := o.linkPin(ifindex, p)
	adopted, err := o.adoptLink(ifindex, p, pin)
	if err != nil || adopted {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: o.programs[p.program].Program, Attach: p.tcx})
	if err != nil {
		return fmt.Errorf("attach %s to device %d: %w", p.program, ifindex, err)
	}
	defer l.Close()
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin the link of %s to device %d: %w", p.program, ifindex, err)
	}
	return o.removeFilter(ifindex, p.side)
}

// adoptLink brings a link of an earlier run up to date. A pin whose device is gone is removed: the number may be another
// device's now.
func (o *Objects) adoptLink(ifindex int, p place, pin string) (bool, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open pinned link %s: %w", pin, err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("look at pinned link %s: %w", pin, err)
	}
	if deviceOf(info) != ifindex {
		return false, removeIfThere(pin)
	}
	if info.Program == o.programs[p.program].id {
		return true, nil
	}
	if err := l.Update(o.programs[p.program].Program); err != nil {
		return false, fmt.Errorf("replace %s on device %d: %w", p.program, ifindex, err)
	}
	return true, nil
}

// deviceOf is the device of a link, 0 when that is gone.
func deviceOf(info *link.Info) int {
	if tcx := info.TCX(); tcx != nil {
		return int(tcx.Ifindex)
	}
	if xdp := info.XDP(); xdp != nil {
		return int(xdp.Ifindex)
	}
	return 0
}

func (o *Objects) linkPin(ifindex int, p place) string {
	return filepath.Join(o.links, p.program+"-"+strconv.Itoa(ifindex))
}

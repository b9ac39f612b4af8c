// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Our filters are known by these numbers on every device, so that they are replaced in place and found again.
const (
	filterHandle   = 1
	filterPriority = 1
)

// hook is a side of a device.
type hook uint32

const (
	ingress hook = netlink.HANDLE_MIN_INGRESS
	egress  hook = netlink.HANDLE_MIN_EGRESS
)

// ensureClsact reports whether it made the qdisc just now.
func (o *Objects) ensureClsact(ifindex int) (bool, error) {
	err := o.netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return false, fmt.Errorf("add clsact to device %d: %w", ifindex, err)
	}
	return err == nil, nil
}

// ensureFilter has our filter on this side run this very program.
func (o *Objects) ensureFilter(ifindex int, side hook, name string) error {
	same, err := o.attached(ifindex, side, name)
	if err != nil || same {
		return err
	}
	return o.putFilter(ifindex, side, name)
}

func (o *Objects) putFilter(ifindex int, side hook, name string) error {
	err := o.netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex, Parent: uint32(side), Handle: filterHandle, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: o.programs[name].FD(), Name: name, DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("attach %s to device %d: %w", name, ifindex, err)
	}
	return nil
}

// attached says whether our filter on this side runs this very program.
func (o *Objects) attached(ifindex int, side hook, name string) (bool, error) {
	f, err := o.filter(ifindex, side)
	if err != nil || f == nil {
		return false, err
	}
	return f.Id == int(o.programs[name].id) && f.DirectAction, nil
}

// filter returns our filter on this side, nil when there is none.
func (o *Objects) filter(ifindex int, side hook) (*netlink.BpfFilter, error) {
	device := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
	filters, err := o.netlink.FilterList(device, uint32(side))
	if err != nil {
		return nil, fmt.Errorf("list filters of device %d: %w", ifindex, err)
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Handle == filterHandle && b.Priority == filterPriority {
			return b, nil
		}
	}
	return nil, nil
}

// removeFilter removes our filter from this side, and leaves the qdisc, which others may use.
func (o *Objects) removeFilter(ifindex int, side hook) error {
	f, err := o.filter(ifindex, side)
	if err != nil || f == nil {
		return err
	}
	if err := o.netlink.FilterDel(f); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove filter from device %d: %w", ifindex, err)
	}
	return nil
}

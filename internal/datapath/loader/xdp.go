// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrNoXDP says why from_wire does not run on a device, in words for a person.
type ErrNoXDP struct {
	// Reason is a clause about the device.
	Reason string
	cause  error
}

// Error is the reason.
func (e *ErrNoXDP) Error() string { return e.Reason }

// Unwrap returns what the kernel said.
func (e *ErrNoXDP) Unwrap() error { return e.cause }

// wirePlace is where from_wire goes.
func wirePlace() place { return place{program: "from_wire"} }

// AttachWire has the driver of a card run from_wire, by a pinned link: the program of an earlier run is replaced without a
// gap, and that of somebody else stays. What the driver or somebody else is in the way of is an ErrNoXDP.
func (o *Objects) AttachWire(ifindex int) error {
	p := wirePlace()
	pin := o.linkPin(ifindex, p)
	adopted, err := o.adoptLink(ifindex, p, pin)
	if err != nil || adopted {
		return err
	}
	l, err := link.AttachXDP(link.XDPOptions{Interface: ifindex, Program: o.programs[p.program].Program, Flags: link.XDPDriverMode})
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("attach %s to device %d: %w", p.program, ifindex, err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return &ErrNoXDP{Reason: "runs an XDP program of another owner", cause: err}
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, ebpf.ErrNotSupported):
		return &ErrNoXDP{Reason: "has a driver without XDP", cause: err}
	case err != nil:
		return &ErrNoXDP{Reason: fmt.Sprintf("has a driver that refuses XDP as it is configured now (%v)", err), cause: err}
	}
	defer l.Close()
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin the link of %s to device %d: %w", p.program, ifindex, err)
	}
	return nil
}

// KeepWires takes from_wire off all devices but these. One that is gone leaves a pin behind, which goes as well.
func (o *Objects) KeepWires(ifindices ...int) error {
	pins, err := filepath.Glob(filepath.Join(o.links, wirePlace().program+"-*"))
	if err != nil {
		return fmt.Errorf("list pinned links of XDP: %w", err)
	}
	for _, pin := range pins {
		kept := slices.ContainsFunc(ifindices, func(index int) bool { return pin == o.linkPin(index, wirePlace()) })
		if kept {
			continue
		}
		if err := removeIfThere(pin); err != nil {
			return fmt.Errorf("detach from_wire: %w", err)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// socketPlaces are the hooks of a control group that the socket programs are for. The ways back come first: nobody is
// translated whose answers would not be.
func socketPlaces() []struct {
	program string
	attach  ebpf.AttachType
} {
	return []struct {
		program string
		attach  ebpf.AttachType
	}{
		{"sock_getpeername4", ebpf.AttachCgroupInet4GetPeername},
		{"sock_getpeername6", ebpf.AttachCgroupInet6GetPeername},
		{"sock_recvmsg4", ebpf.AttachCGroupUDP4Recvmsg},
		{"sock_recvmsg6", ebpf.AttachCGroupUDP6Recvmsg},
		{"sock_sendmsg4", ebpf.AttachCGroupUDP4Sendmsg},
		{"sock_sendmsg6", ebpf.AttachCGroupUDP6Sendmsg},
		{"sock_connect4", ebpf.AttachCGroupInet4Connect},
		{"sock_connect6", ebpf.AttachCGroupInet6Connect},
		{"sock_bind4", ebpf.AttachCGroupInet4Bind},
		{"sock_bind6", ebpf.AttachCGroupInet6Bind},
	}
}

// AttachSockets puts the socket programs on a control group, a folder on a cgroup2 file system: every process in it and
// below it is served. Links are pinned; those of an earlier run are brought up to date in place, without a gap.
func (o *Objects) AttachSockets(cgroup string) error {
	var at unix.Stat_t
	if err := unix.Stat(cgroup, &at); err != nil {
		return fmt.Errorf("look at control group %s: %w", cgroup, err)
	}
	for _, p := range socketPlaces() {
		adopted, err := o.adoptSocketLink(p.program, at.Ino)
		if err != nil {
			return err
		}
		if adopted {
			continue
		}
		if err := o.attachSocket(cgroup, p.program, p.attach); err != nil {
			return err
		}
	}
	return nil
}

func (o *Objects) attachSocket(cgroup, program string, attach ebpf.AttachType) error {
	l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: attach, Program: o.programs[program].Program})
	if err != nil {
		return fmt.Errorf("attach %s to control group %s: %w", program, cgroup, err)
	}
	defer l.Close()
	if err := l.Pin(o.socketPin(program)); err != nil {
		return fmt.Errorf("pin the link of %s: %w", program, err)
	}
	return nil
}

// adoptSocketLink updates the pinned link. One to another control group is removed, and with it its attachment.
func (o *Objects) adoptSocketLink(program string, cgroup uint64) (bool, error) {
	pin := o.socketPin(program)
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
	if at := info.Cgroup(); at == nil || at.CgroupId != cgroup {
		return false, errors.Join(l.Detach(), removeIfThere(pin))
	}
	if info.Program == o.programs[program].id {
		return true, nil
	}
	if err := l.Update(o.programs[program].Program); err != nil {
		return false, fmt.Errorf("replace %s: %w", program, err)
	}
	return true, nil
}

// DetachSockets takes the socket programs off: connections that they led go on, new ones are not led. The way forward
// ends before the way back.
func (o *Objects) DetachSockets() error {
	for _, p := range slices.Backward(socketPlaces()) {
		if err := detachLink(o.socketPin(p.program)); err != nil {
			return fmt.Errorf("detach %s: %w", p.program, err)
		}
	}
	return nil
}

// detachLink ends what a pinned link attaches, and removes the pin. The pin alone would do so too, but some time later.
func detachLink(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	return errors.Join(l.Detach(), removeIfThere(pin))
}

func (o *Objects) socketPin(program string) string { return filepath.Join(o.links, program) }

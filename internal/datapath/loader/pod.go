// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The programs of a pod's host-side device.
const (
	fromPod = "from_pod"
	toPod   = "to_pod"
)

// AttachPod puts from_pod and to_pod on the host-side device of a pod by clsact, and reports whether the device is settled
// already: then from_pod stays with TCX and is brought up to date there. A device that had no clsact before is not asked
// what it runs.
func (o *Objects) AttachPod(ifindex int) (settled bool, err error) {
	fresh, err := o.ensureClsact(ifindex)
	if err != nil {
		return false, err
	}
	if fresh {
		return false, errors.Join(o.putFilter(ifindex, ingress, fromPod), o.putFilter(ifindex, egress, toPod))
	}
	settled, err = o.updateTCX(ifindex)
	if err != nil {
		return false, err
	}
	if settled {
		// An agent that died halfway has left it.
		err = o.removeFilter(ifindex, ingress)
	} else {
		err = o.ensureFilter(ifindex, ingress, fromPod)
	}
	return settled, errors.Join(err, o.ensureFilter(ifindex, egress, toPod))
}

// SettlePod gives from_pod, which all packets of a pod pass, from its filter to TCX, where each of them costs less; to_pod
// sees but what comes by the host's stack. To attach by TCX, and later to delete the device, takes the kernel ten
// milliseconds more with its lock of all devices held. TCX comes before clsact and from_pod's verdict is final, so that
// meanwhile no packet is judged twice or not at all. Like a filter the program has no other owner than the device, with
// which it goes. A kernel without TCX, or a device that is gone, leaves nothing to do.
func (o *Objects) SettlePod(ifindex int) error {
	if !o.tcx {
		return nil
	}
	settled, err := o.updateTCX(ifindex)
	if err == nil && !settled {
		err = o.attachPodTCX(ifindex, nil)
	}
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	return o.removeFilter(ifindex, ingress)
}

// updateTCX reports whether from_pod runs by TCX, and replaces that of an earlier run in place.
func (o *Objects) updateTCX(ifindex int) (settled bool, err error) {
	if !o.tcx {
		return false, nil
	}
	found, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return false, fmt.Errorf("ask what device %d runs: %w", ifindex, err)
	}
	for _, p := range found.Programs {
		if p.ID == o.programs[fromPod].id {
			return true, nil
		}
	}
	for _, p := range found.Programs {
		if _, linked := p.LinkID(); linked {
			continue // somebody else's
		}
		settled, err := o.replacePodTCX(ifindex, p.ID)
		if settled || err != nil {
			return settled, err
		}
	}
	return false, nil
}

// replacePodTCX replaces a program if it is from_pod of an earlier run. One that went meanwhile is none.
func (o *Objects) replacePodTCX(ifindex int, id ebpf.ProgramID) (bool, error) {
	old, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open program %d of device %d: %w", id, ifindex, err)
	}
	defer old.Close()
	info, err := old.Info()
	if err != nil {
		return false, fmt.Errorf("look at program %d of device %d: %w", id, ifindex, err)
	}
	if info.Name != fromPod {
		return false, nil
	}
	return true, o.attachPodTCX(ifindex, link.ReplaceProgram(old))
}

// attachPodTCX attaches from_pod by TCX, after what others have there or where the anchor says.
func (o *Objects) attachPodTCX(ifindex int, where link.Anchor) error {
	err := link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: ifindex, Program: o.programs[fromPod].Program, Attach: ebpf.AttachTCXIngress, Anchor: where,
	})
	if err != nil {
		return fmt.Errorf("attach %s to device %d by TCX: %w", fromPod, ifindex, err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it makes devices in network namespaces and attaches programs to them.
package loader

import (
	"maps"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// deed is something that happens to a pod's device, by an agent of the version before or by this one.
type deed func(t *testing.T, old, o *Objects, device int)

// podCase is what happens to a device, and what it runs then.
type podCase struct {
	deeds []deed
	want  []string
}

// TestPodRunsEachProgramOnce loads programs once for all cases: emulated kernels take long for it.
func TestPodRunsEachProgramOnce(t *testing.T) {
	lab.Enter(t)
	bpffs := lab.BPFFS(t)
	old := loaded(t, Config{TunnelPort: 4789}, bpffs)
	o := loaded(t, Config{TunnelPort: 8472}, bpffs)
	for name, tt := range podCases(o) {
		device := newCard(t)
		for _, do := range tt.deeds {
			do(t, old, o, device)
		}
		if diff := cmp.Diff(tt.want, podPrograms(t, o, device)); diff != "" {
			t.Errorf("%s: programs (-want +got):\n%s", name, diff)
		}
		if err := netlink.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: device}}); err != nil {
			t.Fatal(err)
		}
	}
}

// podCases are those that this kernel can have.
func podCases(o *Objects) map[string]podCase {
	filters := []string{"clsact from_pod", "clsact to_pod"}
	settled, cases := filters, map[string]podCase{}
	if o.tcx {
		settled, cases = []string{"clsact to_pod", "TCX from_pod"}, tcxCases()
	}
	maps.Copy(cases, map[string]podCase{
		"attached":                          {deeds: []deed{attach}, want: filters},
		"attached twice":                    {deeds: []deed{attach, attach}, want: filters},
		"a filter was lost":                 {deeds: []deed{attach, lose(egress), attach}, want: filters},
		"the other filter was lost":         {deeds: []deed{attach, lose(ingress), attach}, want: filters},
		"another version attaches":          {deeds: []deed{attachOld, attach}, want: filters},
		"settled":                           {deeds: []deed{attach, settle}, want: settled},
		"settled twice":                     {deeds: []deed{attach, settle, settle}, want: settled},
		"settled and attached again":        {deeds: []deed{attach, settle, attach}, want: settled},
		"a filter of a settled one is lost": {deeds: []deed{attach, settle, lose(egress), attach}, want: settled},
		"another version settles":           {deeds: []deed{attachOld, settle, attach}, want: settled},
		"another version finds it settled":  {deeds: []deed{attachOld, settleOld, attach}, want: settled},
		"the qdisc of a settled one is lost": {
			deeds: []deed{attach, settle, loseQdisc, attach, attach}, want: settled,
		},
	})
	return cases
}

// tcxCases are those of kernels with TCX.
func tcxCases() map[string]podCase {
	filters, settled := []string{"clsact from_pod", "clsact to_pod"}, []string{"clsact to_pod", "TCX from_pod"}
	shared := []string{"clsact to_pod", "TCX foreign", "TCX from_pod"}
	return map[string]podCase{
		"the agent died amid settling":     {deeds: []deed{attach, settleHalf, attach}, want: settled},
		"settling is taken up again":       {deeds: []deed{attach, settleHalf, settle}, want: settled},
		"another version finds it halfway": {deeds: []deed{attachOld, settleHalfOld, attach}, want: settled},
		"what TCX ran was lost":            {deeds: []deed{attach, settle, loseTCX, attach}, want: filters},
		"somebody else's program stays":    {deeds: []deed{attach, foreign, settle, attach}, want: shared},
		"somebody else's program stays in front of another version": {
			deeds: []deed{attachOld, foreign, settleOld, attach}, want: shared,
		},
	}
}

// attachPod is AttachPod for those who do not ask whether the device is settled.
func attachPod(o *Objects) func(int) error {
	return func(device int) error {
		_, err := o.AttachPod(device)
		return err
	}
}

func attach(t *testing.T, _, o *Objects, device int)      { do(t, attachPod(o), device) }
func attachOld(t *testing.T, old, _ *Objects, device int) { do(t, attachPod(old), device) }
func settle(t *testing.T, _, o *Objects, device int)      { do(t, o.SettlePod, device) }
func settleOld(t *testing.T, old, _ *Objects, device int) { do(t, old.SettlePod, device) }

// settleHalf ends where the filter is still there.
func settleHalf(t *testing.T, _, o *Objects, device int) {
	do(t, func(device int) error { return o.attachPodTCX(device, nil) }, device)
}

func settleHalfOld(t *testing.T, old, _ *Objects, device int) { settleHalf(t, nil, old, device) }

func lose(side hook) deed {
	return func(t *testing.T, _, o *Objects, device int) {
		do(t, func(device int) error { return o.removeFilter(device, side) }, device)
	}
}

func loseTCX(t *testing.T, _, o *Objects, device int) {
	do(t, func(device int) error {
		return link.RawDetachProgram(link.RawDetachProgramOptions{
			Target: device, Program: o.Program(fromPod), Attach: ebpf.AttachTCXIngress,
		})
	}, device)
}

func loseQdisc(t *testing.T, _, o *Objects, device int) {
	do(t, func(device int) error {
		return o.netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: device, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}})
	}, device)
}

// foreign attaches a program of another owner.
func foreign(t *testing.T, _, _ *Objects, device int) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "foreign", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	do(t, func(device int) error {
		return link.RawAttachProgram(link.RawAttachProgramOptions{Target: device, Program: program, Attach: ebpf.AttachTCXIngress})
	}, device)
}

func do(t *testing.T, f func(int) error, device int) {
	t.Helper()
	if err := f(device); err != nil {
		t.Fatal(err)
	}
}

// podPrograms names what a pod's device runs, in order; what is ours but of another version is called old.
func podPrograms(t *testing.T, o *Objects, device int) []string {
	t.Helper()
	var all []string
	for _, side := range []hook{ingress, egress} {
		f, err := o.filter(device, side)
		if err != nil {
			t.Fatal(err)
		}
		if f != nil {
			all = append(all, "clsact "+nameOf(t, o, ebpf.ProgramID(f.Id)))
		}
	}
	for _, attach := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		// An error is a kernel without TCX, on which there is nothing of the kind.
		found, err := link.QueryPrograms(link.QueryOptions{Target: device, Attach: attach})
		if err != nil {
			continue
		}
		for _, p := range found.Programs {
			all = append(all, "TCX "+nameOf(t, o, p.ID))
		}
	}
	return all
}

func nameOf(t *testing.T, o *Objects, id ebpf.ProgramID) string {
	t.Helper()
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		t.Fatal(err)
	}
	if ours := o.Program(info.Name); ours != nil && o.programs[info.Name].id != id {
		return "old " + info.Name
	}
	return info.Name
}

// BenchmarkAttachPod measures what ADD pays: clsact and two filters on a new device.
func BenchmarkAttachPod(b *testing.B) {
	lab.Enter(b)
	o, err := Load(Config{TunnelPort: 8472}, lab.BPFFS(b))
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lxc1"
	for b.Loop() {
		b.StopTimer()
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer1"}); err != nil {
			b.Fatal(err)
		}
		l, err := netlink.LinkByName("lxc1")
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := o.AttachPod(l.Attrs().Index); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := netlink.LinkDel(l); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

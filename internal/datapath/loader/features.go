// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrUnsupported says which feature the running kernel lacks.
type ErrUnsupported struct {
	// Feature is what is missing.
	Feature string
	// Kernel is the first release that has it.
	Kernel string
	cause  error
}

// Error is a sentence for a person.
func (e *ErrUnsupported) Error() string {
	return fmt.Sprintf("this kernel lacks %s; Linux %s and later have it", e.Feature, e.Kernel)
}

// Unwrap returns what the probe said.
func (e *ErrUnsupported) Unwrap() error { return e.cause }

// probe tries everything the programs need; it never asks for the kernel's version.
func probe() error {
	for _, need := range []struct {
		feature, kernel string
		try             func() error
	}{
		{"the BPF instruction set v3", "5.1", features.HaveV3ISA},
		{"bounded loops in BPF programs", "5.3", features.HaveBoundedLoops},
		{"LPM tries", "4.11", mapType(ebpf.LPMTrie)},
		{"LRU hash maps", "4.10", mapType(ebpf.LRUHash)},
		{"bpf_redirect_neigh", "5.10", helper(asm.FnRedirectNeigh)},
		{"bpf_redirect_peer", "5.10", helper(asm.FnRedirectPeer)},
		{"bpf_skc_lookup_tcp", "5.2", helper(asm.FnSkcLookupTcp)},
		{"bpf_sk_lookup_udp", "4.20", helper(asm.FnSkLookupUdp)},
		{"bpf_for_each_map_elem", "5.13", helper(asm.FnForEachMapElem)},
		{"bpf_fib_lookup", "4.18", helper(asm.FnFibLookup)},
		{"XDP programs for frames in several pieces", "5.18", xdpFragments},
		{"bpf_get_netns_cookie in socket programs", "5.7", socketHelper(asm.FnGetNetnsCookie)},
		{"bpf_set_retval in socket programs", "5.18", socketHelper(asm.FnSetRetval)},
		{"the local address in bpf_tunnel_key", "6.0", tunnelKeyWithSource},
	} {
		err := need.try()
		if errors.Is(err, ebpf.ErrNotSupported) {
			return &ErrUnsupported{Feature: need.feature, Kernel: need.kernel, cause: err}
		}
		if err != nil {
			return fmt.Errorf("probe the kernel for %s: %w", need.feature, err)
		}
	}
	return nil
}

// haveTCX asks what runs by TCX on the loopback device, which every network namespace has.
func haveTCX() (bool, error) {
	const loopback = 1
	_, err := link.QueryPrograms(link.QueryOptions{Target: loopback, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("probe the kernel for TCX: %w", err)
	}
	return true, nil
}

func mapType(t ebpf.MapType) func() error {
	return func() error { return features.HaveMapType(t) }
}

func helper(fn asm.BuiltinFunc) func() error {
	return func() error { return features.HaveProgramHelper(ebpf.SchedCLS, fn) }
}

func socketHelper(fn asm.BuiltinFunc) func() error {
	return func() error { return features.HaveProgramHelper(ebpf.CGroupSockAddr, fn) }
}

// xdpFragments loads a program as drivers want it on cards with a large MTU.
func xdpFragments() error {
	const hasFragments = 1 << 5 // BPF_F_XDP_HAS_FRAGS
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Flags: hasFragments, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", ebpf.ErrNotSupported, err)
	}
	if err != nil {
		return err
	}
	return prog.Close()
}

// tunnelKeyBytes is the size of struct bpf_tunnel_key with its local address.
const tunnelKeyBytes = 44

// tunnelKeyWithSource runs a program that sets such a key on a packet. An older kernel refuses the size when it runs, not
// when it loads.
func tunnelKeyWithSource() error {
	instructions := asm.Instructions{asm.Mov.Imm(asm.R2, 0)}
	for offset := int16(-48); offset < 0; offset += 8 {
		instructions = append(instructions, asm.StoreMem(asm.RFP, offset, asm.R2, asm.DWord))
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: append(instructions,
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -48),
		asm.Mov.Imm(asm.R3, tunnelKeyBytes),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnSkbSetTunnelKey.Call(),
		asm.Return(),
	)})
	if err != nil {
		return err
	}
	defer prog.Close()
	result, _, err := prog.Test(make([]byte, 64))
	if err == nil && result != 0 {
		return ebpf.ErrNotSupported
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it loads programs.
package loader

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// What the kernel's verifier grants a program is a million instructions walked and 512 bytes of stack. A program that
// comes near would be refused by a kernel that walks a little differently.
const (
	mostVerified   = 250_000
	mostStackBytes = 448
)

func TestEveryProgramLoadsWithRoomToSpare(t *testing.T) {
	for name, cfg := range map[string]Config{
		"tunnel":                     {TunnelPort: 8472},
		"native routing":             {TunnelPort: 8472, Native: true},
		"direct server return":       {TunnelPort: 8472, Native: true, DirectReturn: true},
		"tunnel beside kube-proxy":   {TunnelPort: 8472, StackForwarding: true},
		"native beside kube-proxy":   {TunnelPort: 8472, Native: true, StackForwarding: true},
		"tunnel on another UDP port": {TunnelPort: 4789},
	} {
		t.Run(name, func(t *testing.T) {
			specs, err := objects(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range specs {
				programs := loadAlone(t, spec)
				for _, program := range slices.Sorted(maps.Keys(programs)) {
					checkCost(t, spec.Programs[program], programs[program])
				}
			}
		})
	}
}

// loadAlone loads an object with maps of its own, keeping the verifier's figures.
func loadAlone(t *testing.T, spec *ebpf.CollectionSpec) map[string]*ebpf.Program {
	t.Helper()
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats},
	})
	if refused, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		t.Fatalf("the verifier refuses %v: %+v", slices.Sorted(maps.Keys(spec.Programs)), refused)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(collection.Close)
	return collection.Programs
}

// checkCost logs in the form that hack/kernels collects.
func checkCost(t *testing.T, spec *ebpf.ProgramSpec, p *ebpf.Program) {
	t.Helper()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	verified, _ := info.VerifiedInstructions()
	jited, _ := info.JitedSize()
	functions, err := info.FuncInfos()
	if err != nil {
		t.Fatal(err)
	}
	name, stack := spec.Name, stackBytes(t, spec.Instructions, functions, p.VerifierLog)
	t.Logf("program %s: verified %d instructions, stack %d bytes, machine code %d bytes", name, verified, stack, jited)
	if verified > mostVerified || stack > mostStackBytes {
		t.Errorf("%s costs the verifier %d instructions and %d bytes of stack, want at most %d and %d",
			name, verified, stack, mostVerified, mostStackBytes)
	}
}

// stackBytes reads "stack depth 120+32", a program's own and those of the subprograms that the verifier has left of it, in
// their order, and returns what the deepest chain of calls uses.
func stackBytes(t *testing.T, program asm.Instructions, functions btf.FuncOffsets, log string) int {
	t.Helper()
	found := regexp.MustCompile(`stack depth ([0-9+]+)`).FindStringSubmatch(log)
	if found == nil {
		t.Fatalf("the verifier's log has no stack depth:\n%s", log)
	}
	own, depths := map[string]int{}, strings.Split(found[1], "+")
	if len(depths) != len(functions) {
		t.Fatalf("stack depth %s of %d functions", found[1], len(functions))
	}
	for i, depth := range depths {
		n, err := strconv.Atoi(depth)
		if err != nil {
			t.Fatalf("stack depth %s: %v", found[1], err)
		}
		own[functions[i].Func.Name] = n
	}
	first, calls := callGraph(program)
	var deepest func(name string) int
	deepest = func(name string) int {
		below := 0
		for _, callee := range calls[name] {
			below = max(below, deepest(callee))
		}
		return own[name] + below
	}
	return deepest(first)
}

// callGraph names the first function of a program, and whom each of them calls.
func callGraph(program asm.Instructions) (first string, calls map[string][]string) {
	calls = map[string][]string{}
	name := program[0].Symbol()
	first = name
	for i := range program {
		instruction := &program[i]
		if symbol := instruction.Symbol(); symbol != "" && btf.FuncMetadata(instruction) != nil {
			name = symbol
		}
		if instruction.IsFunctionReference() {
			calls[name] = append(calls[name], instruction.Reference())
		}
	}
	return first, calls
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"math"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// reserved is the name of fields that later versions divide among themselves (bpf/lib/types.h).
const reserved = "reserved"

// sameLayout compares the structs of key and value as the kernel remembers them with those of the object, because fields
// may change while sizes stay. Of maps in a map it remembers sizes alone.
func sameLayout(m *ebpf.Map, spec *ebpf.MapSpec) bool {
	if spec.InnerMap != nil {
		return takes(m, spec.InnerMap)
	}
	handle, err := m.Handle()
	if err != nil {
		return false
	}
	defer handle.Close()
	remembered, err := handle.Spec(nil)
	if err != nil {
		return false
	}
	for _, want := range []btf.Type{spec.Key, spec.Value} {
		if _, ok := want.(*btf.Struct); !ok {
			continue
		}
		var have *btf.Struct
		if remembered.TypeByName(want.TypeName(), &have) != nil || !sameFields(have, want.(*btf.Struct)) {
			return false
		}
	}
	return true
}

// takes tries whether a map of maps takes such a one, under a number that is nobody's.
func takes(m *ebpf.Map, inner *ebpf.MapSpec) bool {
	probe, err := ebpf.NewMap(inner)
	if err != nil {
		return false
	}
	defer probe.Close()
	return m.Put(uint32(0), probe) == nil && m.Delete(uint32(0)) == nil
}

// sameFields compares two versions of a struct. What one of them has reserved the other may use: it is zero until then.
func sameFields(a, b *btf.Struct) bool {
	return a.Size == b.Size && fits(a, b) && fits(b, a)
}

// fits tells whether each field of a is one of b, or lies in what b has reserved.
func fits(a, b *btf.Struct) bool {
	for _, field := range a.Members {
		if field.Name != reserved && !slices.ContainsFunc(b.Members, func(other btf.Member) bool { return takesPlace(field, other) }) {
			return false
		}
	}
	return true
}

func takesPlace(field, other btf.Member) bool {
	if other.Name != reserved {
		return field.Name == other.Name && field.Offset == other.Offset && text(field.Type) == text(other.Type)
	}
	return other.Offset <= field.Offset && end(field) <= end(other)
}

// end is where a member ends, in bits of its struct. A size that is not known reaches beyond everything.
func end(m btf.Member) btf.Bits {
	bytes, err := btf.Sizeof(m.Type)
	if err != nil {
		return math.MaxUint32
	}
	return m.Offset + btf.Bits(bytes*8)
}

// text is a type with the names, order and sizes of all that is in it.
func text(t btf.Type) string {
	out, err := (&btf.GoFormatter{}).TypeDeclaration("text", t)
	if err != nil {
		return err.Error()
	}
	return out
}

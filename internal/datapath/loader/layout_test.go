// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

// structOf is a struct of bytes: fields one after another, each with its size.
func structOf(fields ...any) *btf.Struct {
	s := &btf.Struct{Name: "connection"}
	for i := 0; i < len(fields); i += 2 {
		size := fields[i+1].(int)
		s.Members = append(s.Members, btf.Member{
			Name: fields[i].(string), Offset: btf.Bits(8 * s.Size),
			Type: &btf.Array{Index: &btf.Int{Size: 4}, Type: &btf.Int{Name: "byte", Size: 1}, Nelems: uint32(size)},
		})
		s.Size += uint32(size)
	}
	return s
}

func TestSameFields(t *testing.T) {
	had := structOf("expires", 8, "seen", 1, "reserved", 7)
	for name, tt := range map[string]struct {
		now  *btf.Struct
		want bool
	}{
		"the same":                              {structOf("expires", 8, "seen", 1, "reserved", 7), true},
		"a part of what was reserved is in use": {structOf("expires", 8, "seen", 1, "flags", 2, "reserved", 5), true},
		"all of it is":                          {structOf("expires", 8, "seen", 1, "flags", 7), true},
		"its last byte alone is":                {structOf("expires", 8, "seen", 1, "reserved", 6, "flags", 1), true},
		"another name":                          {structOf("expires", 8, "flags", 1, "reserved", 7), false},
		"another order":                         {structOf("seen", 1, "expires", 8, "reserved", 7), false},
		"another size of a field":               {structOf("expires", 8, "seen", 2, "reserved", 6), false},
		"another size":                          {structOf("expires", 8, "seen", 1, "reserved", 15), false},
		"more than was reserved":                {structOf("expires", 4, "flags", 4, "seen", 1, "reserved", 7), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sameFields(had, tt.now); got != tt.want {
				t.Errorf("upgrade: %t, want %t", got, tt.want)
			}
			if got := sameFields(tt.now, had); got != tt.want {
				t.Errorf("downgrade: %t, want %t", got, tt.want)
			}
		})
	}
}

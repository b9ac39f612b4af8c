// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// snake turns TunnelPort into tunnel_port.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// TestEveryFieldIsAConstant holds loader.Config and bpf/lib/config.h together, both ways.
func TestEveryFieldIsAConstant(t *testing.T) {
	var fields []string
	for f := range reflect.TypeFor[Config]().Fields() {
		fields = append(fields, snake(f.Name))
	}
	slices.Sort(fields)
	if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(Config{}.constants()))); diff != "" {
		t.Errorf("fields and what is set (-fields +set):\n%s", diff)
	}
	specs, err := objects(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for i, spec := range specs {
		if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(spec.Variables))); diff != "" {
			t.Errorf("object %d: fields and constants (-fields +constants):\n%s", i, diff)
		}
	}
}

// TestEveryObjectHasTheSameMaps guards adoptMaps, which looks at the first object only.
func TestEveryObjectHasTheSameMaps(t *testing.T) {
	specs, err := objects(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for i, spec := range specs[1:] {
		for name, m := range specs[0].Maps {
			if local(name) {
				continue
			}
			other := spec.Maps[name]
			if other == nil || other.KeySize != m.KeySize || other.ValueSize != m.ValueSize || other.MaxEntries != m.MaxEntries {
				t.Errorf("map %s of object %d: got %v, want %v", name, i+1, other, m)
			}
		}
	}
}

func TestErrUnsupportedNamesFeatureAndKernel(t *testing.T) {
	err := &ErrUnsupported{Feature: "bpf_redirect_peer", Kernel: "5.10"}
	if got, want := err.Error(), "this kernel lacks bpf_redirect_peer; Linux 5.10 and later have it"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

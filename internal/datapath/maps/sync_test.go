// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	type entries = map[string]int
	for name, c := range map[string]struct {
		have, want, wantAdd, wantUpdate entries
		wantRemove                      []string
	}{
		"nothing":                   {},
		"the same":                  {have: entries{"a": 1}, want: entries{"a": 1}},
		"into an empty map":         {want: entries{"a": 1, "b": 2}, wantAdd: entries{"a": 1, "b": 2}},
		"an empty want clears":      {have: entries{"b": 2, "a": 1}, wantRemove: []string{"a", "b"}},
		"another value":             {have: entries{"a": 1}, want: entries{"a": 2}, wantUpdate: entries{"a": 2}},
		"the zero value is a value": {have: entries{"a": 1}, want: entries{"a": 0}, wantUpdate: entries{"a": 0}},
		"all at once": {
			have: entries{"keep": 1, "change": 2, "go": 3}, want: entries{"keep": 1, "change": 4, "come": 5},
			wantAdd: entries{"come": 5}, wantUpdate: entries{"change": 4}, wantRemove: []string{"go"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			add, update, remove := diff(c.have, c.want)
			slices.Sort(remove)
			if c.wantAdd == nil {
				c.wantAdd = entries{}
			}
			if c.wantUpdate == nil {
				c.wantUpdate = entries{}
			}
			if d := cmp.Diff(c.wantAdd, add); d != "" {
				t.Errorf("add (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.wantUpdate, update); d != "" {
				t.Errorf("update (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.wantRemove, remove); d != "" {
				t.Errorf("remove (-want +got):\n%s", d)
			}
		})
	}
}

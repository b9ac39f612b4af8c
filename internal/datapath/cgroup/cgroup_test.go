// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// groups makes folders with the processes that the kernel would list.
func groups(t *testing.T, procs map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for group, list := range procs {
		dir := filepath.Join(root, group)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestVerify(t *testing.T) {
	const pid = 7
	tests := map[string]struct {
		procs map[string]string
		want  error
	}{
		"the node's root, with everybody in groups of their own": {
			procs: map[string]string{".": "", "system/kubelet": "0\n", "pods/agent": "1\n7\n"},
		},
		"the node's root, with everybody in it (control groups of version 1)": {procs: map[string]string{".": "0\n0\n7\n"}},
		"the agent's own container":                {procs: map[string]string{".": "1\n7\n"}, want: ErrNotTheNode},
		"a group inside the agent's own container": {procs: map[string]string{".": "", "sub": "7\n71\n"}, want: ErrNotTheNode},
		"another container's":                      {procs: map[string]string{".": "0\n"}, want: ErrNotTheNode},
		"empty":                                    {procs: map[string]string{".": ""}, want: ErrNotTheNode},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := verify(groups(t, tt.procs), pid); !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestRootNeedsCgroup2(t *testing.T) {
	for name, dir := range map[string]string{"another file system": t.TempDir(), "nothing": filepath.Join(t.TempDir(), "no")} {
		t.Run(name, func(t *testing.T) {
			if _, err := Root(dir, 1); !errors.Is(err, ErrNotFound) {
				t.Errorf("error = %v, want %v", err, ErrNotFound)
			}
		})
	}
}

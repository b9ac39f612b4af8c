// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "bin", "plugin")
	if err := os.Mkdir(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, from, "new")
	write(t, to, "old")
	running, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	if err := replaceFile(from, to); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(to); string(got) != "new" {
		t.Errorf("the file is %q", got)
	}
	old := make([]byte, 3)
	if _, err := running.Read(old); err != nil || string(old) != "old" {
		t.Errorf("who had the old file open reads %q, %v: it was written over", old, err)
	}
	info, err := os.Stat(to)
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if left := list(t, filepath.Dir(to)); len(left) != 1 {
		t.Errorf("left beside the file: %v", left)
	}
}

func TestReplaceFileThatCannotBe(t *testing.T) {
	tests := map[string]struct{ from, to string }{
		"no source":                  {from: "none", to: "bin/plugin"},
		"no folder":                  {from: "from", to: "none/plugin"},
		"a folder in the file's way": {from: "from", to: "bin/folder"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "bin", "folder"), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "from"), "new")
			err := replaceFile(filepath.Join(dir, tt.from), filepath.Join(dir, tt.to))
			if err == nil || !strings.Contains(err.Error(), "install "+filepath.Base(tt.to)) {
				t.Errorf("err = %v, want one that names the plugin", err)
			}
			if left := list(t, filepath.Join(dir, "bin")); len(left) != 1 {
				t.Errorf("left in the folder: %v", left)
			}
		})
	}
}

func TestUnknownWord(t *testing.T) {
	err := run(t.Context(), []string{"instal"})
	if err == nil || !strings.Contains(err.Error(), `"instal"`) {
		t.Errorf("err = %v, want one that names the word", err)
	}
}

func TestWrongSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	write(t, path, "logLevel: loud\n")
	t.Setenv("NODE_NAME", "n1")
	err := run(t.Context(), []string{"-config", path})
	if err == nil || !strings.Contains(err.Error(), "logLevel") {
		t.Errorf("err = %v, want one about logLevel", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// group is a control group for one test: programs on it reach nobody else.
type group struct{ path string }

// newGroup makes an empty group below the one in which the test runs.
func newGroup(t testing.TB) group {
	t.Helper()
	g := group{filepath.Join(ownGroup(t), fmt.Sprintf("ciliate-test-%d", os.Getpid()))}
	must(t, os.Mkdir(g.path, 0o755))
	t.Cleanup(func() {
		if err := os.Remove(g.path); err != nil {
			t.Error(err)
		}
	})
	return g
}

// join puts the test's process into the group until the test's end: sockets belong to the group in which they are made.
func (g group) join(t testing.TB) {
	t.Helper()
	before := ownGroup(t)
	enter(t, g.path)
	t.Cleanup(func() { enter(t, before) })
}

func enter(t testing.TB, path string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644))
}

// ownGroup is the cgroup2 folder of the test's process.
func ownGroup(t testing.TB) string {
	t.Helper()
	lines, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	for line := range strings.Lines(string(lines)) {
		if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join(cgroup2(t), own)
		}
	}
	t.Fatalf("the test is in no group of version 2:\n%s", lines)
	return ""
}

func cgroup2(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fsys unix.Statfs_t
		if unix.Statfs(path, &fsys) == nil && int64(fsys.Type) == unix.CGROUP2_SUPER_MAGIC {
			return path
		}
	}
	t.Fatal("no cgroup2 file system is mounted")
	return ""
}

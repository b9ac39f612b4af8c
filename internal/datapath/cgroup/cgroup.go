// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound says that there is no cgroup2 file system where one is expected.
	ErrNotFound = errors.New("no cgroup2 file system")

	// ErrNotTheNode says that a control group is not the root of the node's.
	ErrNotTheNode = errors.New("not the root of the node's control groups")
)

// Root returns the folder of the node's cgroup2 root: dir itself, or "unified" in it where version 1 has dir. pid is the
// caller. A group without the caller, or without a process outside the caller's own container, is refused: programs
// there would serve nobody else.
func Root(dir string, pid int) (string, error) {
	for _, candidate := range []string{dir, filepath.Join(dir, "unified")} {
		var fsys unix.Statfs_t
		err := unix.Statfs(candidate, &fsys)
		if errors.Is(err, fs.ErrNotExist) || err == nil && int64(fsys.Type) != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("look at %s: %w", candidate, err)
		}
		return candidate, verify(candidate, pid)
	}
	return "", fmt.Errorf("%s: %w: mount the node's /sys/fs/cgroup there", dir, ErrNotFound)
}

// members is who is in a control group and below it.
type members struct{ self, others bool }

func verify(root string, pid int) error {
	var found members
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
			return nil
		case err != nil:
			return err
		case found.self && found.others:
			return fs.SkipAll
		case entry.IsDir():
			return found.look(filepath.Join(path, "cgroup.procs"), pid)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look through control group %s: %w", root, err)
	}
	if !found.self {
		return fmt.Errorf("%s: %w: the agent's own is not below it", root, ErrNotTheNode)
	}
	if !found.others {
		return fmt.Errorf("%s: %w: it holds nobody but the agent's own container", root, ErrNotTheNode)
	}
	return nil
}

// look reads one group. The kernel shows processes of other PID namespaces, so those of other containers and of the node
// itself, as 0.
func (m *members) look(path string, pid int) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	self := strconv.Itoa(pid)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		m.self = m.self || lines.Text() == self
		m.others = m.others || lines.Text() == "0"
	}
	if err := lines.Err(); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Package lab makes network namespaces for tests that need root. Nothing of it outlives the test's process: namespaces
// are held by open files only, mounts live in the test's own mount namespace.
package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Netns is a network namespace.
type Netns struct {
	ns netns.NsHandle
}

// Enter moves the calling test into a network and mount namespace of its own. The thread is never given back: it ends
// with the test. It must be called from the test's own goroutine, and again in each subtest.
func Enter(t testing.TB) *Netns {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		t.Fatalf("unshare network and mount namespace: %v", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	own := current(t)
	own.Run(t, "ip", "link", "set", "lo", "up")
	return own
}

// New makes another network namespace, with lo up.
func New(t testing.TB) *Netns {
	t.Helper()
	before := current(t)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare network namespace: %v", err)
	}
	made := current(t)
	if err := netns.Set(before.ns); err != nil {
		t.Fatalf("return from the new network namespace: %v", err)
	}
	made.Run(t, "ip", "link", "set", "lo", "up")
	return made
}

func current(t testing.TB) *Netns {
	t.Helper()
	ns, err := netns.Get()
	if err != nil {
		t.Fatalf("open network namespace: %v", err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return &Netns{ns: ns}
}

// Path is how the namespace can be opened, by children too, until Close or the test's end.
func (n *Netns) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.ns)) }

// FD is the open namespace.
func (n *Netns) FD() int { return int(n.ns) }

// Close forgets the namespace; the kernel removes it when nobody else is in it.
func (n *Netns) Close(t testing.TB) {
	t.Helper()
	if err := n.ns.Close(); err != nil {
		t.Fatalf("close network namespace: %v", err)
	}
}

// Do runs the deed in the namespace and returns to where the thread was.
func (n *Netns) Do(t testing.TB, deed func()) {
	t.Helper()
	before, err := netns.Get()
	if err != nil {
		t.Fatalf("open network namespace: %v", err)
	}
	defer before.Close()
	if err := netns.Set(n.ns); err != nil {
		t.Fatalf("enter network namespace: %v", err)
	}
	defer func() {
		if err := netns.Set(before); err != nil {
			t.Fatalf("return from network namespace: %v", err)
		}
	}()
	deed()
}

// OnThread runs the deed in the namespace, on a thread that ends with it: for goroutines beside the test's own.
func (n *Netns) OnThread(deed func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := netns.Set(n.ns); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- deed()
	}()
	return <-done
}

// Run runs a command in the namespace and returns what it printed.
func (n *Netns) Run(t testing.TB, command ...string) string {
	t.Helper()
	out, err := n.Try(t, command...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return out
}

// Try is Run for commands that may fail.
func (n *Netns) Try(t testing.TB, command ...string) (string, error) {
	t.Helper()
	var out []byte
	var err error
	n.Do(t, func() {
		// A child inherits the namespaces of the thread that starts it.
		out, err = exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
	})
	return string(out), err
}

// Script runs lines of commands, words separated by blanks.
func (n *Netns) Script(t testing.TB, lines ...string) {
	t.Helper()
	for _, line := range lines {
		n.Run(t, strings.Fields(line)...)
	}
}

// Settle waits until no IPv6 address of the namespace is tentative any more: the kernel asks for neighbours with none
// such, and loses what is to be forwarded meanwhile.
func (n *Netns) Settle(t testing.TB) {
	t.Helper()
	const patience, pause = 10 * time.Second, 20 * time.Millisecond
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pause) {
		if n.Run(t, "ip", "-6", "addr", "show", "tentative") == "" {
			return
		}
	}
	t.Fatalf("IPv6 addresses are tentative after %s", patience)
}

// BPFFS mounts a bpf file system that only this test sees.
func BPFFS(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatalf("mount bpf file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount bpf file system: %v", err)
		}
	})
	return dir
}

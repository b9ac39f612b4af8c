// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ciliate-io/ciliate/controllers/agent/cni"
	"github.com/ciliate-io/ciliate/internal/config"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/kernel"
	"github.com/ciliate-io/ciliate/internal/logging"
)

// install puts the CNI plugins in place and sees to it that a bpf file system is mounted. It runs as the privileged init
// container, so that the agent itself need not be privileged.
func install(_ context.Context, c config.Agent) error {
	// The runtime calls loopback for every sandbox by itself.
	for _, plugin := range []string{"/cilium-cni", "/loopback"} {
		if err := replaceFile(plugin, filepath.Join(c.CNIBinDir, filepath.Base(plugin))); err != nil {
			return err
		}
	}
	return mountBPFFS(filepath.Dir(c.BPFFS))
}

// mountBPFFS mounts a bpf file system on dir if it is not one; the mount reaches the node because the container's mount
// of dir is Bidirectional.
func mountBPFFS(dir string) error {
	var fsys unix.Statfs_t
	if err := unix.Statfs(dir, &fsys); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if fsys.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount a bpf file system on %s: %w", dir, err)
	}
	return nil
}

// replaceFile copies in one step: a plugin that is being executed goes on as it was.
func replaceFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(to), err)
	}
	defer func() { _ = source.Close() }()
	temp, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+"-*")
	if err != nil {
		return fmt.Errorf("install %s: %w", filepath.Base(to), err)
	}
	_, err = io.Copy(temp, source)
	err = errors.Join(err, temp.Chmod(0o755), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), to)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("install %s: %w", filepath.Base(to), err), os.Remove(temp.Name()))
	}
	return nil
}

// uninstall removes from the node what the agent made: the CNI configuration first, so that no new pod comes, then
// devices, routes, programs and maps.
func uninstall(ctx context.Context, c config.Agent) error {
	ctrl.SetLogger(logging.New(c.LogLevel))
	file, err := cni.NewConfigFile(c.CNIConfDir, c.RunDir, c.NodeName, clock.RealClock{}, func() {})
	if err != nil {
		return err
	}
	if err := file.Remove(); err != nil {
		return err
	}
	if err := undo(ctx, c); err != nil {
		return fmt.Errorf("remove the datapath: %w", err)
	}
	// All as "rm -f": whoever removes Ciliate may have to try twice.
	if err := cni.RemoveShared(c.RunDir); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(c.CNIBinDir, "cilium-cni"))
}

// undo removes the datapath. Where no map is pinned there is none: to open one would make its folder anew, and whoever is
// stopped in the middle of a second run would leave it behind.
func undo(ctx context.Context, c config.Agent) error {
	if _, err := os.Stat(c.BPFFS); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	datapath, err := kernel.Open(ctx, dp.Config{BPFFS: c.BPFFS, ProcSysNet: c.ProcSysNet})
	if err != nil {
		return err
	}
	return datapath.Undo(ctx)
}

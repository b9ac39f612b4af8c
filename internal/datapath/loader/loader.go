// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// Objects are the loaded programs and the maps they share. Its methods may be called by several goroutines.
type Objects struct {
	config   Config
	maps     *maps.Maps
	byName   map[string]*ebpf.Map
	programs map[string]program
	links    string
	netlink  *netlink.Handle
	tcx      bool // the kernel has it
}

// program is a loaded program and the number by which devices show it.
type program struct {
	*ebpf.Program
	id ebpf.ProgramID
}

// Load makes programs and maps ready under bpffs, a folder of this datapath alone on a bpf file system. Maps that are
// already pinned there are adopted with what they hold; one of another layout gives way to a new, empty map, which the
// programs of devices not yet attached anew do not see. Programs of the same build, configuration and maps are adopted too.
// The network namespace of the calling thread is the one whose devices the result attaches to.
func Load(cfg Config, bpffs string) (_ *Objects, err error) {
	if err := probe(); err != nil {
		return nil, err
	}
	tcx, err := haveTCX()
	if err != nil {
		return nil, err
	}
	o := &Objects{config: cfg, links: filepath.Join(bpffs, "links"), tcx: tcx}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	pins := filepath.Join(bpffs, "programs")
	if err := folders(bpffs, pins, o.links); err != nil {
		return nil, err
	}
	specs, err := objects(cfg)
	if err != nil {
		return nil, err
	}
	if o.byName, err = adoptMaps(bpffs, specs[0]); err != nil {
		return nil, err
	}
	if o.maps, err = maps.New(o.byName); err != nil {
		return nil, err
	}
	if err := o.maps.PutWorlds(); err != nil {
		return nil, err
	}
	if o.programs, err = adoptPrograms(pins, cfg, specs, o.byName); err != nil {
		return nil, err
	}
	if o.netlink, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return o, nil
}

// folders makes the folders and checks that they can hold pins.
func folders(paths ...string) error {
	for _, path := range paths {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("make folder for pins: %w", err)
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(paths[0], &fs); err != nil {
		return fmt.Errorf("look at %s: %w", paths[0], err)
	}
	if int64(fs.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s is not on a bpf file system", paths[0])
	}
	return nil
}

// objects reads the compiled objects and writes the configuration into them.
func objects(cfg Config) ([]*ebpf.CollectionSpec, error) {
	var specs []*ebpf.CollectionSpec
	for _, read := range []func() (*ebpf.CollectionSpec, error){bpfgen.LoadPod, bpfgen.LoadOverlay, bpfgen.LoadNetdev, bpfgen.LoadXdp, bpfgen.LoadSock, bpfgen.LoadConntrack} {
		spec, err := read()
		if err != nil {
			return nil, fmt.Errorf("read compiled object: %w", err)
		}
		if err := cfg.apply(spec); err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// SweepConnections throws out the connections that are over, and returns how many.
func (o *Objects) SweepConnections() (int, error) {
	removed, err := o.programs["sweep_connections"].Run(&ebpf.RunOptions{})
	if err != nil {
		return 0, fmt.Errorf("sweep connections: %w", err)
	}
	return int(removed), nil
}

// Maps returns the maps.
func (o *Objects) Maps() *maps.Maps { return o.maps }

// Program returns a program by its name in C, nil when there is none. It is closed with the Objects.
func (o *Objects) Program(name string) *ebpf.Program { return o.programs[name].Program }

// Map returns a map by its name in C, nil when there is none. It is closed with the Objects.
func (o *Objects) Map(name string) *ebpf.Map { return o.byName[name] }

// Close lets go of everything; programs stay attached, and maps and programs pinned.
func (o *Objects) Close() error {
	var errs []error
	for _, p := range o.programs {
		errs = append(errs, p.Close())
	}
	for _, m := range o.byName {
		errs = append(errs, m.Close())
	}
	if o.netlink != nil {
		o.netlink.Close()
	}
	return errors.Join(errs...)
}

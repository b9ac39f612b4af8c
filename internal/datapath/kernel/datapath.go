// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/cgroup"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
	"github.com/ciliate-io/ciliate/internal/datapath/netfilter"
)

// Datapath is the packet path of one node. Its methods may be called by several goroutines, those about one endpoint by
// one at a time.
type Datapath struct {
	cfg     datapath.Config
	cgroup  string // the root of the node's control groups; empty when none is configured
	links   *link.Links
	objects *loader.Objects
	maps    *maps.Maps

	ensuring sync.Mutex // one EnsureNode at a time
	turns    *turns     // with devices of endpoints

	mu        sync.RWMutex
	node      *node                // what EnsureNode made last; nil before
	endpoints map[string]forwarded // what EnsureEndpoint made, by host-side device
}

// ipvsDevice is where kube-proxy puts the addresses of Services when it uses IPVS.
const ipvsDevice = "kube-ipvs0"

// node is what endpoints need to know of their node.
type node struct {
	datapath.Node
	mtu   int
	cards []string
	// accelerated are the cards that forward by XDP, plain those that should and do not.
	accelerated []link.Device
	plain       []datapath.PlainDevice
}

// forwarded is an endpoint whose addresses have routes.
type forwarded struct {
	endpoint datapath.Endpoint
	ifc      datapath.Interface
	settled  bool // nothing is left for SettleEndpoint
}

// Open loads the programs, adopting what is pinned. Nothing of the node changes before EnsureNode. The network namespace
// of the calling thread is the node.
func Open(ctx context.Context, cfg datapath.Config) (*Datapath, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkBPFFS(cfg.BPFFS); err != nil {
		return nil, err
	}
	root, err := cgroupRoot(cfg.Cgroup)
	if err != nil {
		return nil, err
	}
	links, err := link.Open(link.Sysctls(cmp.Or(cfg.ProcSysNet, string(link.DefaultSysctls))), rand.Reader)
	if err != nil {
		return nil, err
	}
	objects, err := load(cfg)
	if err != nil {
		links.Close()
		return nil, fmt.Errorf("load datapath: %w", err)
	}
	return &Datapath{
		cfg: cfg, cgroup: root, links: links, objects: objects, maps: objects.Maps(),
		turns: newTurns(), endpoints: map[string]forwarded{},
	}, nil
}

func load(cfg datapath.Config) (*loader.Objects, error) {
	own, err := loader.NetnsCookie()
	if err != nil {
		return nil, err
	}
	return loader.Load(loader.Config{
		TunnelPort:      cfg.TunnelPort,
		Native:          cfg.Native,
		StackForwarding: cfg.StackForwarding,
		DirectReturn:    cfg.DirectReturn,
		HostNetns:       own,
	}, cfg.BPFFS)
}

// cgroupRoot refuses a group that is not the root of the node's before anything is loaded.
func cgroupRoot(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	return cgroup.Root(dir, os.Getpid())
}

// checkBPFFS checks that pins would be kept. The folder itself may be made later.
func checkBPFFS(path string) error {
	var fsys unix.Statfs_t
	err := unix.Statfs(path, &fsys)
	if errors.Is(err, fs.ErrNotExist) {
		err = unix.Statfs(filepath.Dir(path), &fsys)
	}
	if err != nil {
		return fmt.Errorf("stat file system of %s: %w", path, err)
	}
	if int64(fsys.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s: %w", path, datapath.ErrNoBPFFS)
	}
	return nil
}

// Close lets go of the kernel's objects; traffic goes on.
func (d *Datapath) Close() error {
	d.links.Close()
	return d.objects.Close()
}

// ForeignServices reports who else translates Services with netfilter on this node. Packets that are redirected past the
// host's stack would escape his translation.
func (d *Datapath) ForeignServices() (found bool, who string, err error) {
	ipvs, err := d.links.Index(ipvsDevice)
	if err != nil {
		return false, "", err
	}
	if ipvs != 0 {
		return true, "kube-proxy (device " + ipvsDevice + ")", nil
	}
	who, err = netfilter.ForeignServices()
	return who != "", who, err
}

// Changes tells, until ctx ends, that devices, addresses or routes of the node have changed: EnsureNode should look.
func (d *Datapath) Changes(ctx context.Context) (<-chan struct{}, error) {
	return link.Changes(ctx, time.After)
}

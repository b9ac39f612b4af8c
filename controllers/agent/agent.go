// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/agent/announcement"
	"github.com/ciliate-io/ciliate/controllers/agent/cni"
	"github.com/ciliate-io/ciliate/controllers/agent/connection"
	"github.com/ciliate-io/ciliate/controllers/agent/endpoint"
	"github.com/ciliate-io/ciliate/controllers/agent/identity"
	"github.com/ciliate-io/ciliate/controllers/agent/ipcache"
	"github.com/ciliate-io/ciliate/controllers/agent/node"
	"github.com/ciliate-io/ciliate/controllers/agent/service"
	"github.com/ciliate-io/ciliate/internal/config"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/ipam"
	services "github.com/ciliate-io/ciliate/internal/service"
	"github.com/ciliate-io/ciliate/internal/version"
)

// cooldown is how long an address rests before it is given to another pod: longer than news of the old pod's end takes
// to reach every node.
const cooldown = 30 * time.Second

// Datapath is what the agent asks of the kernel; each controller declares its own part of it.
type Datapath interface {
	EnsureNode(ctx context.Context, node dp.Node) (dp.NodeState, error)
	ForeignServices() (bool, string, error)
	Changes(ctx context.Context) (<-chan struct{}, error)
	EnsureInterface(ctx context.Context, ep dp.Endpoint) (dp.Interface, error)
	EnsureEndpoint(ctx context.Context, ep dp.Endpoint, ifc dp.Interface) error
	SettleEndpoint(ctx context.Context) error
	RemoveEndpoint(ctx context.Context, ep dp.Endpoint) error
	DeleteInterface(ctx context.Context, hostIfName string) error
	Endpoints(ctx context.Context) ([]dp.Observed, error)
	SyncRoutes(routes []dp.Route) error
	PutRoutes(routes []dp.Route) error
	DeleteRoutes(prefixes []netip.Prefix) error
	SyncIdentities(ids []dp.Identity) error
	PutIdentity(id dp.Identity) error
	DeleteIdentity(id dp.Identity) error
	Services() (services.State, error)
	WriteServices(diff services.Diff) error
	ServiceCapacity() services.Capacity
	AttachSockets() error
	DestroySockets(ctx context.Context, gone []services.Backend) error
	SweepConnections() error
	Cards() []string
	Announce(list []dp.Announcement, long time.Duration) error
	Withdraw(list []dp.Announcement) error
	Announcements() ([]dp.Announcement, error)
	Counts() ([]dp.Count, error)
	MapUsage() ([]dp.MapUsage, error)
}

// Deps are what the agent's controllers are made of.
type Deps struct {
	Config config.Agent
	// Cluster is CiliumConfig "default" as it was when the agent started.
	Cluster    v1alpha1.CiliumConfig
	BootID     string
	Datapath   Datapath
	Credential *cni.Credential
	Clock      clock.WithTicker
	// Seed makes the choice of addresses random.
	Seed uint64
}

// Setup adds this node's controllers to mgr. remote is the cache of the other nodes' endpoints.
func Setup(ctx context.Context, mgr ctrl.Manager, remote cache.Cache, d Deps) (*Start, error) {
	addresses := ipam.New(d.Clock.Now, rand.NewPCG(d.Seed, d.Seed), cooldown)
	changes, err := d.Datapath.Changes(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch the node's devices: %w", err)
	}
	s := &Start{mgr: mgr, remote: remote, clock: d.Clock}
	s.file, err = cni.NewConfigFile(d.Config.CNIConfDir, d.Config.RunDir, d.Config.NodeName, d.Clock, func() { s.node.Wake() })
	if err != nil {
		return nil, err
	}
	s.node = node.New(node.Options{
		Client: mgr.GetClient(), Datapath: d.Datapath, Addresses: addresses, Clock: d.Clock, NodeName: d.Config.NodeName,
		BootID: d.BootID, Version: version.Version, Config: d.Cluster, Changes: changes, CNI: s.file.State,
		Attached:      func() int { return s.endpoints.Attached() },
		FilterChanged: func(ctx context.Context) error { return s.endpoints.WakeAll(ctx) },
		Services: func() node.Services {
			v := s.services.View()
			return node.Services{Programmed: v.Services, Backends: v.Backends, Short: v.Short, Contested: v.Contested, Problem: v.Problem}
		},
	})
	s.endpoints = endpoint.New(endpoint.Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Datapath: d.Datapath, Addresses: addresses, Node: s.node,
		Recorder: mgr.GetEventRecorder("cilium-agent"), Clock: d.Clock, NodeName: d.Config.NodeName,
		Tombstones: endpoint.Tombstones(d.Config.RunDir + "/deletes"), NetnsDir: d.Config.NetnsDir,
	})
	s.ipcache = ipcache.New(mgr.GetClient(), remote, d.Datapath, d.Config.NodeName, d.Clock)
	s.identities = identity.New(mgr.GetClient(), d.Datapath)
	s.services = service.New(service.Options{
		Client: mgr.GetClient(), Datapath: d.Datapath, Clock: d.Clock, NodeName: d.Config.NodeName,
		Changed: func() { s.node.Wake() },
	})
	s.announcements = announcement.New(announcement.Options{
		Client: mgr.GetClient(), Datapath: d.Datapath, Clock: d.Clock, NodeName: d.Config.NodeName,
	})
	s.heartbeat = cni.NewHeartbeat(d.Config.RunDir, d.BootID, d.Clock, d.Credential.Expires, s.Reason)
	return s, s.setup(mgr, d)
}

// setup is the list of what runs on a node.
func (s *Start) setup(mgr ctrl.Manager, d Deps) error {
	for _, controller := range []interface{ SetupWithManager(ctrl.Manager) error }{
		s.node,
		s.endpoints,
		s.ipcache,
		s.identities,
		s.services,
		s.announcements,
	} {
		if err := controller.SetupWithManager(mgr); err != nil {
			return err
		}
	}
	for _, runnable := range []manager.Runnable{
		s.remote, d.Credential, s.heartbeat, s.file, s.node, s.ipcache, s.services, s.announcements, connection.New(d.Datapath, d.Clock), s,
	} {
		if err := mgr.Add(runnable); err != nil {
			return err
		}
	}
	return s.registerMetrics(d.Datapath)
}

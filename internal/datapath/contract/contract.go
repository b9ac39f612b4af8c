// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Package contract says what everyone who uses a datapath may rely on. The real one and the fake are held to it by the
// same test, so that a test of a controller with the fake means something. Entry point: Test.
package contract

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/service"
)

// Datapath is everything that both can do.
type Datapath interface {
	EnsureNode(ctx context.Context, want datapath.Node) (datapath.NodeState, error)
	EnsureInterface(ctx context.Context, ep datapath.Endpoint) (datapath.Interface, error)
	EnsureEndpoint(ctx context.Context, ep datapath.Endpoint, ifc datapath.Interface) error
	SettleEndpoint(ctx context.Context) error
	RemoveEndpoint(ctx context.Context, ep datapath.Endpoint) error
	DeleteInterface(ctx context.Context, hostIfName string) error
	Endpoints(ctx context.Context) ([]datapath.Observed, error)
	SyncRoutes(routes []datapath.Route) error
	PutRoutes(routes []datapath.Route) error
	DeleteRoutes(prefixes []netip.Prefix) error
	Routes() ([]datapath.Route, error)
	SyncIdentities(ids []datapath.Identity) error
	PutIdentity(id datapath.Identity) error
	DeleteIdentity(id datapath.Identity) error
	Services() (service.State, error)
	WriteServices(diff service.Diff) error
	ServiceCapacity() service.Capacity
	AttachSockets() error
	DestroySockets(ctx context.Context, gone []service.Backend) error
	SweepConnections() error
	Cards() []string
	Announce(list []datapath.Announcement, long time.Duration) error
	Withdraw(list []datapath.Announcement) error
	Announcements() ([]datapath.Announcement, error)
	Counts() ([]datapath.Count, error)
	MapUsage() ([]datapath.MapUsage, error)
	ForeignServices() (found bool, who string, err error)
	Changes(ctx context.Context) (<-chan struct{}, error)
	Undo(ctx context.Context) error
	Close() error
}

// Node is a datapath and the world around it. Each case gets a new one.
type Node struct {
	Datapath Datapath
	// Want is a node that fits this world, with routers 10.0.1.1 and fd00:1::1.
	Want datapath.Node
	// MTU is that of the node's card.
	MTU int
	// Sandbox makes a network namespace and returns its path; CloseSandbox removes it.
	Sandbox      func() string
	CloseSandbox func(path string)
	// OwnNetns is the path of the node's own network namespace, NoNetns one of something else.
	OwnNetns, NoNetns string
}

// Test runs every case against nodes made by newNode.
func Test(t *testing.T, newNode func(t *testing.T) Node) {
	cases := map[string]func(t *testing.T, n Node){
		"a node is ensured twice alike":                          nodeTwice,
		"a node accelerates its cards or says why not":           nodeAccelerated,
		"a node without a device is refused":                     nodeWithoutDevice,
		"no interface before the node":                           interfaceBeforeNode,
		"an interface is ensured twice and stays the same":       interfaceTwice,
		"an interface of another owner is replaced":              interfaceReplaced,
		"no interface in a sandbox that is gone":                 sandboxGone,
		"no interface in something that is no sandbox":           invalidNetns,
		"endpoints are shown with owner, addresses and identity": endpointsShown,
		"an endpoint's identity changes in place":                identityChanges,
		"endpoints are settled at any time and stay the same":    endpointsSettled,
		"a removed endpoint leaves a device without entry":       endpointRemoved,
		"an endpoint is removed by its device alone":             removedByDevice,
		"an endpoint whose device is gone is removed by address": removedByAddress,
		"an address that has a new owner is not taken from him":  addressReused,
		"removing what is not there is no error":                 removeNothing,
		"only pods' devices can be deleted":                      deleteForeign,
		"routes are synced, added and removed":                   routes,
		"identities are added and removed twice":                 identities,
		"services are written and deleted":                       services,
		"connections are swept at any time":                      sweep,
		"addresses are announced and withdrawn":                  announcements,
		"maps say how full they are":                             mapUsage,
		"nobody else translates services":                        noForeignServices,
		"changes end with their context":                         changesEnd,
		"a node can be undone with endpoints on it":              undo,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) { run(t, newNode(t)) })
	}
}

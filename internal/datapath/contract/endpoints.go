// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package contract

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// endpoint is the number-th endpoint of the node, in a sandbox.
func endpoint(number uint16, netns string) datapath.Endpoint {
	return datapath.Endpoint{
		UID:        fmt.Sprintf("uid-%d", number),
		ID:         number,
		Netns:      netns,
		IfName:     "eth0",
		HostIfName: datapath.HostIfName(fmt.Sprint(number), "eth0"),
		Addrs: []netip.Addr{
			netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + number)}),
			netip.MustParseAddr(fmt.Sprintf("fd00:1::%x", 16+number)),
		},
		Gateways: []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:1::1")},
		Identity: 256 + datapath.Identity(number),
	}
}

// shown is what Endpoints says of an endpoint that was added.
func shown(ep datapath.Endpoint) datapath.Observed {
	return datapath.Observed{UID: ep.UID, ID: ep.ID, HostIfName: ep.HostIfName, Addrs: ep.Addrs, Identity: ep.Identity}
}

func ensureNode(t *testing.T, n Node) datapath.NodeState {
	t.Helper()
	state, err := n.Datapath.EnsureNode(t.Context(), n.Want)
	must(t, err)
	return state
}

func ensureInterface(t *testing.T, n Node, ep datapath.Endpoint) datapath.Interface {
	t.Helper()
	ifc, err := n.Datapath.EnsureInterface(t.Context(), ep)
	must(t, err)
	return ifc
}

func ensureEndpoint(t *testing.T, n Node, ep datapath.Endpoint, ifc datapath.Interface) {
	t.Helper()
	must(t, n.Datapath.EnsureEndpoint(t.Context(), ep, ifc))
}

func add(t *testing.T, n Node, ep datapath.Endpoint) datapath.Interface {
	t.Helper()
	ifc := ensureInterface(t, n, ep)
	ensureEndpoint(t, n, ep, ifc)
	return ifc
}

func remove(t *testing.T, n Node, ep datapath.Endpoint) {
	t.Helper()
	must(t, n.Datapath.RemoveEndpoint(t.Context(), ep))
}

func deleteInterface(t *testing.T, n Node, ep datapath.Endpoint) {
	t.Helper()
	must(t, n.Datapath.DeleteInterface(t.Context(), ep.HostIfName))
}

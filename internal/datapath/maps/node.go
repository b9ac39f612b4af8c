// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"fmt"
	"net/netip"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// NodeConfig are the values of this node that may change while the agent runs.
type NodeConfig struct {
	// TunnelIfindex is the tunnel device; 0 when there is none.
	TunnelIfindex int
	// MTU is the largest IP packet between pods of different nodes, in bytes; 0 switches the check off.
	MTU int
	// Addrs are this node's underlay addresses; the first of each family is the outer source of tunnel packets, and must
	// be the one that other nodes know as this node's. Without one the kernel chooses.
	Addrs []netip.Addr
	// NATFirst to NATLast are the ports that stand for those of pods behind the node's address.
	NATFirst, NATLast uint16
	// Routers are this node's router addresses, at most one a family.
	Routers []netip.Addr
	// Encapsulate lets programs write tunnel frames themselves, past the tunnel device and the host's stack behind it.
	Encapsulate bool
}

// SetNode writes the node's values, all at once.
func (m *Maps) SetNode(c NodeConfig) error {
	n := bpfgen.NodeConfig{TunnelIfindex: uint32(c.TunnelIfindex), Mtu: uint32(c.MTU), NatFirst: c.NATFirst, NatLast: c.NATLast}
	if c.Encapsulate {
		n.Encapsulates = 1
	}
	n.Underlay4.B, n.Underlay6.B = firsts(c.Addrs)
	n.Router4.B, n.Router6.B = firsts(c.Routers)
	if err := m.node.Put(uint32(0), n); err != nil {
		return fmt.Errorf("write node: %w", err)
	}
	return nil
}

// firsts returns the first address of each family, zero where there is none.
func firsts(addrs []netip.Addr) (v4, v6 [16]byte) {
	for _, a := range addrs {
		a = a.Unmap()
		switch {
		case a.Is4() && v4 == [16]byte{}:
			v4 = key(a)
		case a.Is6() && v6 == [16]byte{}:
			v6 = key(a)
		}
	}
	return v4, v6
}

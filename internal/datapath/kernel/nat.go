// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"cmp"
	"slices"

	"github.com/ciliate-io/ciliate/internal/datapath/link"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// ports are a range of them, with both ends.
type ports struct{ first, last int }

func (p ports) count() int { return p.last - p.first + 1 }

// nodePorts is the range of node ports of a cluster that does not say otherwise. Another one costs nothing but a second
// look: a connection is known by both its ends.
func nodePorts() ports { return ports{30000, 32767} }

// lastResort are the ports that are taken from the kernel's own where it leaves too few.
func lastResort() ports { return ports{61440, 65535} }

// natPorts are the ports that stand for those of pods behind the node's address: the most in one piece that are neither
// privileged nor the kernel's to give to sockets nor node ports. False: the last resort, which must be reserved.
func natPorts(local ports) (ports, bool) {
	const firstUnprivileged, end = 1024, 65536
	taken := []ports{local, nodePorts(), {end, end}}
	slices.SortFunc(taken, func(a, b ports) int { return cmp.Compare(a.first, b.first) })
	best, next := ports{}, firstUnprivileged
	for _, t := range taken {
		if free := (ports{next, t.first - 1}); free.count() > best.count() {
			best = free
		}
		next = max(next, t.last+1)
	}
	if best.count() < lastResort().count() {
		return lastResort(), false
	}
	return best, true
}

// ensureNATPorts decides about them, so that no socket of the node is ever given one.
func (d *Datapath) ensureNATPorts() (first, last uint16, err error) {
	if first, last, err = d.links.LocalPorts(); err != nil {
		return 0, 0, err
	}
	chosen, free := natPorts(ports{int(first), int(last)})
	first, last = uint16(chosen.first), uint16(chosen.last)
	if free {
		return first, last, nil
	}
	return first, last, d.links.ReservePorts(first, last)
}

// exitCards are the devices by which pods' packets leave, as the programs see them. To other networks of this machine,
// behind bridges of other owners, the way is by the host's stack, whose firewall keeps them apart.
func exitCards(n *node, exits []link.Device) []maps.Card {
	out := make([]maps.Card, len(exits))
	for i, device := range exits {
		out[i] = maps.Card{
			Index: device.Index, Addrs: device.Addrs,
			Masquerades: n.Masquerade, Direct: slices.Contains(n.cards, device.Name),
		}
	}
	return out
}

// SweepConnections throws out the connections that are over; until then they hold their places.
func (d *Datapath) SweepConnections() error {
	_, err := d.objects.SweepConnections()
	return err
}

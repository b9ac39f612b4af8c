// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/ciliate-io/ciliate/internal/service"
)

// endpoint is one backend as far as it matters who gets it.
type endpoint struct {
	addr  netip.AddrPort
	ready bool
	// serving: it is on its way out, but still answers.
	serving bool
	// here: it runs on this node.
	here bool
	// node and zone are what its hints say of this node and of its zone.
	node, zone hint
}

// hint says for whom an endpoint is meant, the greater the nearer.
type hint uint8

const (
	forNobody hint = iota // there is no hint
	forOthers
	forUs
)

// endpoints are those behind one port, in one family. During changes an endpoint can be in two slices: what any of them
// says in its favour counts.
func (n Node) endpoints(published []discoveryv1.EndpointSlice, family corev1.IPFamily, port corev1.ServicePort) []endpoint {
	found := map[netip.AddrPort]endpoint{}
	for i := range published {
		slice := &published[i]
		if string(slice.AddressType) != string(family) {
			continue
		}
		number, there := portOf(slice, port)
		if !there {
			continue
		}
		for j := range slice.Endpoints {
			for _, text := range slice.Endpoints[j].Addresses[:min(1, len(slice.Endpoints[j].Addresses))] {
				addr, err := netip.ParseAddr(text)
				if err != nil || !usable(addr, family) {
					continue
				}
				e := n.endpoint(&slice.Endpoints[j], netip.AddrPortFrom(addr, number))
				old := found[e.addr]
				e.ready, e.serving = e.ready || old.ready, e.serving || old.serving
				e.here, e.node, e.zone = e.here || old.here, max(e.node, old.node), max(e.zone, old.zone)
				found[e.addr] = e
			}
		}
	}
	out := make([]endpoint, 0, len(found))
	for _, e := range found {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.addr.Compare(b.addr) })
	return out
}

// portOf is the number that a port of the Service has in a slice.
func portOf(slice *discoveryv1.EndpointSlice, port corev1.ServicePort) (uint16, bool) {
	for _, p := range slice.Ports {
		name, protocol := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if name == port.Name && protocol == protocolOf(port.Protocol) && p.Port != nil && *p.Port > 0 && *p.Port <= maxPort {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// endpoint reads the conditions as the API defines their absence: ready unless it says otherwise, serving if ready.
func (n Node) endpoint(e *discoveryv1.Endpoint, addr netip.AddrPort) endpoint {
	ready := e.Conditions.Ready == nil || *e.Conditions.Ready
	serving := ready
	if e.Conditions.Serving != nil {
		serving = *e.Conditions.Serving
	}
	terminating := e.Conditions.Terminating != nil && *e.Conditions.Terminating
	out := endpoint{addr: addr, ready: ready, serving: serving && terminating, here: e.NodeName != nil && *e.NodeName == n.Name}
	if e.Hints != nil {
		out.node = meant(e.Hints.ForNodes, discoveryv1.ForNode{Name: n.Name})
		out.zone = meant(e.Hints.ForZones, discoveryv1.ForZone{Name: n.Zone})
	}
	return out
}

func meant[T comparable](hints []T, us T) hint {
	switch {
	case len(hints) == 0:
		return forNobody
	case slices.Contains(hints, us):
		return forUs
	}
	return forOthers
}

// usable: of the family, and an address that a connection from here could mean.
func usable(addr netip.Addr, family corev1.IPFamily) bool {
	if addr.Is4In6() || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() {
		return false
	}
	return addr.Is4() == (family == corev1.IPv4Protocol)
}

// choose are the backends that a client gets: the ready ones, and only when there is none those that are on their way
// out but still answer.
func choose(candidates []endpoint) []netip.AddrPort {
	for _, fits := range []func(endpoint) bool{
		func(e endpoint) bool { return e.ready },
		func(e endpoint) bool { return e.serving },
	} {
		if chosen := filter(candidates, fits); len(chosen) > 0 {
			return addrs(chosen)
		}
	}
	return nil
}

// near are the ready endpoints that hints want this node to use, or else its zone, or all if there is none: a hint is
// never a reason to have no backend. As for kube-proxy, hints count only when every ready endpoint has them: without
// that, they are being written just now.
func near(candidates []endpoint) []endpoint {
	ready := filter(candidates, func(e endpoint) bool { return e.ready })
	for _, of := range []func(endpoint) hint{
		func(e endpoint) hint { return e.node },
		func(e endpoint) hint { return e.zone },
	} {
		if slices.ContainsFunc(ready, func(e endpoint) bool { return of(e) == forNobody }) {
			continue
		}
		if ours := filter(ready, func(e endpoint) bool { return of(e) == forUs }); len(ours) > 0 {
			return ours
		}
	}
	return candidates
}

func here(candidates []endpoint) []endpoint {
	return filter(candidates, func(e endpoint) bool { return e.here })
}

func filter(in []endpoint, fits func(endpoint) bool) []endpoint {
	var out []endpoint
	for _, e := range in {
		if fits(e) {
			out = append(out, e)
		}
	}
	return out
}

func addrs(in []endpoint) []netip.AddrPort {
	out := make([]netip.AddrPort, len(in))
	for i, e := range in {
		out[i] = e.addr
	}
	return out
}

// protocolOf is what a port says, or TCP.
func protocolOf(said corev1.Protocol) corev1.Protocol {
	if said == "" {
		return corev1.ProtocolTCP
	}
	return said
}

// number is a protocol's in IP; 0 for one that we do not know.
func number(p corev1.Protocol) service.Protocol {
	switch p {
	case corev1.ProtocolTCP:
		return service.TCP
	case corev1.ProtocolUDP:
		return service.UDP
	case corev1.ProtocolSCTP:
		return service.SCTP
	}
	return 0
}

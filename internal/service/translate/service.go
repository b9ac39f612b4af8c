// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/ciliate-io/ciliate/internal/service"
)

// maxPort is the highest port there is.
const maxPort = 65535

// defaultAffinity is how long ClientIP affinity lasts when the Service does not say.
const defaultAffinity = time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second

// Node is this node, from which Services are seen.
type Node struct {
	Name string
	// Zone is the node's topology.kubernetes.io/zone; empty when it has none.
	Zone string
	// Addrs are the addresses at which node ports and host ports answer.
	Addrs []netip.Addr
	// Maglev: Services that do not say otherwise choose backends for packets from outside by Maglev.
	Maglev bool
}

// Sets are what a Service comes to on this node: for each port and family one set behind its ClusterIP, and one behind
// the addresses by which it can be reached from outside. Headless Services and mere names have none.
//
// What is translated at a socket comes from this node's pods and processes, so from inside the cluster: for it
// externalTrafficPolicy means nothing (as for kube-proxy, which leads pods and the node itself to all endpoints), while
// internalTrafficPolicy does.
func (n Node) Sets(svc *corev1.Service, published []discoveryv1.EndpointSlice) []service.Set {
	if svc.Spec.Type == corev1.ServiceTypeExternalName || !hasClusterIP(svc) {
		return nil
	}
	var sets []service.Set
	for _, port := range svc.Spec.Ports {
		for _, family := range svc.Spec.IPFamilies {
			sets = append(sets, n.portSets(svc, port, family, published)...)
		}
	}
	return sets
}

func hasClusterIP(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone
}

func (n Node) portSets(svc *corev1.Service, port corev1.ServicePort, family corev1.IPFamily, published []discoveryv1.EndpointSlice) []service.Set {
	protocol := number(protocolOf(port.Protocol))
	if protocol == 0 || port.Port <= 0 || port.Port > maxPort {
		return nil
	}
	candidates := n.endpoints(published, family, port)
	base := service.Set{
		Affinity: affinity(svc), Since: svc.CreationTimestamp.Time, NodePorts: n.heldPorts(port, family, candidates),
	}
	var sets []service.Set
	for _, kind := range n.kinds(svc, port, family, candidates) {
		if len(kind.ofNode)+len(kind.ofWorld) == 0 {
			continue
		}
		set := base
		set.Name = fmt.Sprintf("%s/%s %d/%d %s %s", svc.Namespace, svc.Name, protocol, port.Port, family, kind.word)
		set.Rank, set.Backends, set.Local, set.Sources = kind.rank, choose(kind.from), kind.local, kind.sources
		set.Guarded = kind.guarded
		// A table costs memory, and what only this node's pods ask for need not be the same on all nodes.
		set.Maglev = len(kind.ofWorld) > 0 && n.maglev(svc)
		for _, addr := range kind.ofNode {
			set.Frontends = append(set.Frontends, service.Frontend{Addr: addr, Protocol: protocol})
		}
		for _, addr := range kind.ofWorld {
			set.Frontends = append(set.Frontends, service.Frontend{Addr: addr, Protocol: protocol, Scope: service.OfWorld})
		}
		sets = append(sets, set)
	}
	return sets
}

// kind is a way in which clients come to a Service.
type kind struct {
	word            string
	rank            service.Rank
	ofNode, ofWorld []netip.AddrPort
	from            []endpoint
	local, guarded  bool
	sources         []netip.Prefix
}

// kinds are the clients of its ClusterIP; those of its other addresses, wherever they come from; and, apart from these,
// packets from outside for which it wants this node's endpoints alone, or which come to a load balancer that is not for
// everybody.
func (n Node) kinds(svc *corev1.Service, port corev1.ServicePort, family corev1.IPFamily, candidates []endpoint) []kind {
	inside, outside := kind{word: "inside", from: near(candidates)}, kind{word: "outside", rank: service.Claimed, from: near(candidates)}
	if p := svc.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		inside.from = here(candidates)
	}
	inside.ofNode = clusterFrontends(svc, port, family)
	open, balanced := n.openFrontends(svc, port, family), balancerFrontends(svc, port, family)
	outside.ofNode = append(slices.Clone(open), balanced...)
	world := outside
	world.ofNode, world.word = nil, "local"
	if world.local = svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal; world.local {
		world.from = here(candidates)
	}
	guarded := world
	guarded.word, guarded.sources = "guarded", sources(svc, family)
	if guarded.guarded = len(svc.Spec.LoadBalancerSourceRanges) > 0; guarded.guarded {
		guarded.ofWorld, balanced = balanced, nil
	}
	if everybody := append(open, balanced...); world.local {
		world.ofWorld = everybody
	} else {
		outside.ofWorld = everybody
	}
	return []kind{inside, outside, world, guarded}
}

// sources are the ranges from which a load balancer may be used. One that is none lets nobody
// in: a typing error must not open a door.
func sources(svc *corev1.Service, family corev1.IPFamily) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range svc.Spec.LoadBalancerSourceRanges {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err == nil && prefix.Addr().Is4() == (family == corev1.IPv4Protocol) {
			out = append(out, prefix.Masked())
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// clusterFrontends are the ClusterIPs.
func clusterFrontends(svc *corev1.Service, port corev1.ServicePort, family corev1.IPFamily) []netip.AddrPort {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	return frontends(ips, family, port.Port)
}

// balancerFrontends are the addresses of load balancers.
func balancerFrontends(svc *corev1.Service, port corev1.ServicePort, family corev1.IPFamily) []netip.AddrPort {
	var ips []string
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			// Proxy: the load balancer wants to see every packet itself.
			if ingress.IPMode == nil || *ingress.IPMode == corev1.LoadBalancerIPModeVIP {
				ips = append(ips, ingress.IP)
			}
		}
	}
	return frontends(ips, family, port.Port)
}

// openFrontends are externalIPs, and the node port.
func (n Node) openFrontends(svc *corev1.Service, port corev1.ServicePort, family corev1.IPFamily) []netip.AddrPort {
	return append(frontends(svc.Spec.ExternalIPs, family, port.Port), n.nodePorts(port, family)...)
}

// nodePorts are the node port at this node's own addresses.
func (n Node) nodePorts(port corev1.ServicePort, family corev1.IPFamily) []netip.AddrPort {
	if port.NodePort <= 0 || port.NodePort > maxPort {
		return nil
	}
	var out []netip.AddrPort
	for _, addr := range n.Addrs {
		if usable(addr, family) {
			out = append(out, netip.AddrPortFrom(addr, uint16(port.NodePort)))
		}
	}
	return out
}

// heldPorts are the node ports at which a process of this node would hear nothing. Where backends have that very port, it is
// not said that they are not such processes: a pod with hostNetwork listens before it is anybody's endpoint.
func (n Node) heldPorts(port corev1.ServicePort, family corev1.IPFamily, behind []endpoint) []netip.AddrPort {
	own := func(e endpoint) bool { return int32(e.addr.Port()) == port.NodePort }
	if port.TargetPort.IntVal == port.NodePort || slices.ContainsFunc(behind, own) {
		return nil
	}
	return n.nodePorts(port, family)
}

func frontends(ips []string, family corev1.IPFamily, port int32) []netip.AddrPort {
	var out []netip.AddrPort
	seen := map[netip.Addr]bool{}
	for _, ip := range ips {
		addr, err := netip.ParseAddr(ip)
		if err == nil && usable(addr, family) && !seen[addr] {
			seen[addr] = true
			out = append(out, netip.AddrPortFrom(addr, uint16(port)))
		}
	}
	return out
}

func affinity(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return defaultAffinity
}

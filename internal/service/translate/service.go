// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"fmt"
	"net/netip"
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
	inside, outside := near(candidates), near(candidates)
	if p := svc.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		inside = here(candidates)
	}
	base := service.Set{Affinity: affinity(svc), Since: svc.CreationTimestamp.Time}
	var sets []service.Set
	for _, kind := range []struct {
		word      string
		rank      service.Rank
		frontends []netip.AddrPort
		from      []endpoint
	}{
		{"inside", service.Assigned, clusterFrontends(svc, port, family), inside},
		{"outside", service.Claimed, n.outsideFrontends(svc, port, family), outside},
	} {
		if len(kind.frontends) == 0 {
			continue
		}
		set := base
		set.Name = fmt.Sprintf("%s/%s %d/%d %s %s", svc.Namespace, svc.Name, protocol, port.Port, family, kind.word)
		set.Rank, set.Backends = kind.rank, choose(kind.from)
		for _, addr := range kind.frontends {
			set.Frontends = append(set.Frontends, service.Frontend{Addr: addr, Protocol: protocol})
		}
		sets = append(sets, set)
	}
	return sets
}

// clusterFrontends are the ClusterIPs.
func clusterFrontends(svc *corev1.Service, port corev1.ServicePort, family corev1.IPFamily) []netip.AddrPort {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	return frontends(ips, family, port.Port)
}

// outsideFrontends are externalIPs, the addresses of load balancers, and node ports at this node's own addresses.
func (n Node) outsideFrontends(svc *corev1.Service, port corev1.ServicePort, family corev1.IPFamily) []netip.AddrPort {
	ips := append([]string(nil), svc.Spec.ExternalIPs...)
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			// Proxy: the load balancer wants to see every packet itself.
			if ingress.IPMode == nil || *ingress.IPMode == corev1.LoadBalancerIPModeVIP {
				ips = append(ips, ingress.IP)
			}
		}
	}
	out := frontends(ips, family, port.Port)
	if port.NodePort > 0 && port.NodePort <= maxPort {
		for _, addr := range n.Addrs {
			if usable(addr, family) {
				out = append(out, netip.AddrPortFrom(addr, uint16(port.NodePort)))
			}
		}
	}
	return out
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

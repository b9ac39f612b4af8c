// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/internal/service"
)

// HostPorts are the ports of a pod that it wants to have at its node's addresses. A pod in the node's own network has them
// already.
func HostPorts(pod *corev1.Pod) []corev1.ContainerPort {
	if pod.Spec.HostNetwork {
		return nil
	}
	var ports []corev1.ContainerPort
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for _, port := range containers[i].Ports {
				if port.HostPort > 0 && port.HostPort <= maxPort && port.ContainerPort > 0 && port.ContainerPort <= maxPort {
					ports = append(ports, port)
				}
			}
		}
	}
	return ports
}

// PodSets are what the host ports of a pod on this node come to: for each port and family one set, with the pod behind it as
// long as it runs.
func (n Node) PodSets(pod *corev1.Pod) []service.Set {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil // its addresses may be another's
	}
	var sets []service.Set
	for _, port := range HostPorts(pod) {
		protocol := number(protocolOf(port.Protocol))
		if protocol == 0 {
			continue
		}
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			behind, frontends := podAddr(pod, family), n.hostFrontends(port, family)
			if !behind.IsValid() || len(frontends) == 0 {
				continue
			}
			set := service.Set{
				Name:     fmt.Sprintf("pod %s/%s %d/%s:%d %s", pod.Namespace, pod.Name, protocol, port.HostIP, port.HostPort, family),
				Rank:     service.Claimed,
				Since:    pod.CreationTimestamp.Time,
				Backends: []netip.AddrPort{netip.AddrPortFrom(behind, uint16(port.ContainerPort))},
			}
			for _, addr := range frontends {
				at := netip.AddrPortFrom(addr, uint16(port.HostPort))
				set.Frontends = append(set.Frontends, service.Frontend{Addr: at, Protocol: protocol})
				if !addr.IsLoopback() {
					set.Frontends = append(set.Frontends, service.Frontend{Addr: at, Protocol: protocol, Scope: service.OfWorld})
				}
			}
			sets = append(sets, set)
		}
	}
	return sets
}

// podAddr is the pod's address in a family.
func podAddr(pod *corev1.Pod, family corev1.IPFamily) netip.Addr {
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && usable(addr, family) {
			return addr
		}
	}
	return netip.Addr{}
}

// hostFrontends are the addresses at which a host port is wanted: all of the node's and its loopback, or the named one of
// them. Another's address would lead this node's clients of it astray.
func (n Node) hostFrontends(port corev1.ContainerPort, family corev1.IPFamily) []netip.Addr {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if family == corev1.IPv6Protocol {
		loopback = netip.IPv6Loopback()
	}
	own := []netip.Addr{loopback}
	for _, addr := range n.Addrs {
		if usable(addr, family) {
			own = append(own, addr)
		}
	}
	if port.HostIP == "" {
		return own
	}
	wanted, err := netip.ParseAddr(port.HostIP)
	switch {
	case err != nil || wanted.Is4() != loopback.Is4():
		return nil
	case wanted.IsUnspecified():
		return own
	case wanted.IsLoopback() || slices.Contains(own, wanted):
		return []netip.Addr{wanted}
	}
	return nil
}

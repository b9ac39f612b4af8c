// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/ciliate-io/ciliate/internal/service"
)

const here1, there2, zone1 = "node1", "node2", "zone1"

func this() Node {
	return Node{Name: here1, Zone: zone1, Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.11"), netip.MustParseAddr("fd00:172:18::11")}}
}

// svc is a Service of one port and family, changed by each of the options.
func svc(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{}
	s.Namespace, s.Name = "ns", "web"
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7"}
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	for _, c := range change {
		c(s)
	}
	return s
}

// slice is an EndpointSlice of IPv4 with an unnamed TCP port 8080.
func slice(endpoints ...discoveryv1.Endpoint) discoveryv1.EndpointSlice {
	return discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{port("", corev1.ProtocolTCP, 8080)},
	}
}

func port(name string, protocol corev1.Protocol, number int32) discoveryv1.EndpointPort {
	return discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number}
}

// end is an endpoint on a node: ready, serving and terminating as the letters r, s and t say; "" leaves all open.
func end(ip, node, conditions string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node}
	if conditions == "" {
		return e
	}
	has := func(letter byte) *bool { has := slices.Contains([]byte(conditions), letter); return &has }
	e.Conditions = discoveryv1.EndpointConditions{Ready: has('r'), Serving: has('s'), Terminating: has('t')}
	return e
}

// shape is a set as tests write it down.
type shape struct {
	// World are the frontends for packets from outside.
	Frontends, World, Backends []string
	Affinity                   time.Duration
	Local, Guarded             bool
	Sources                    []netip.Prefix
}

func shapes(sets []service.Set) []shape {
	var out []shape
	for _, s := range sets {
		sh := shape{Affinity: s.Affinity, Local: s.Local, Guarded: s.Guarded, Sources: s.Sources}
		for _, f := range s.Frontends {
			name := map[service.Protocol]string{service.TCP: "tcp ", service.UDP: "udp ", service.SCTP: "sctp "}[f.Protocol]
			if f.Scope == service.OfWorld {
				sh.World = append(sh.World, name+f.Addr.String())
			} else {
				sh.Frontends = append(sh.Frontends, name+f.Addr.String())
			}
		}
		for _, b := range s.Backends {
			sh.Backends = append(sh.Backends, b.String())
		}
		out = append(out, sh)
	}
	return out
}

const vip = "tcp 10.96.0.7:80"

// inside is what only a ClusterIP leads to.
func inside(backends ...string) []shape {
	return []shape{{Frontends: []string{vip}, Backends: backends}}
}

func TestBackends(t *testing.T) {
	local := corev1.ServiceInternalTrafficPolicyLocal
	localPolicy := func(s *corev1.Service) { s.Spec.InternalTrafficPolicy = &local }
	hinted := func(e discoveryv1.Endpoint, node string) discoveryv1.Endpoint {
		e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: node}}}
		return e
	}
	both := func(e discoveryv1.Endpoint, node, zone string) discoveryv1.Endpoint {
		e.Hints = &discoveryv1.EndpointHints{
			ForNodes: []discoveryv1.ForNode{{Name: node}}, ForZones: []discoveryv1.ForZone{{Name: zone}},
		}
		return e
	}
	zoned := func(e discoveryv1.Endpoint, zone string) discoveryv1.Endpoint {
		e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
		return e
	}
	tests := map[string]struct {
		service *corev1.Service
		slices  []discoveryv1.EndpointSlice
		want    []shape
	}{
		"no slice at all: a frontend that refuses": {service: svc(), want: inside()},
		"all ready ones, sorted, of all slices": {
			service: svc(),
			slices:  []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "rs")), slice(end("10.0.1.9", here1, ""))},
			want:    inside("10.0.1.9:8080", "10.0.2.9:8080"),
		},
		"one that is in two slices counts once, and as the better of both": {
			service: svc(),
			slices:  []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "s")), slice(end("10.0.2.9", there2, "rs"))},
			want:    inside("10.0.2.9:8080"),
		},
		"those that are not ready do not count": {
			service: svc(), slices: []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "s"), end("10.0.1.9", here1, "x"))},
			want: inside(),
		},
		"those on their way out do not count while others are ready": {
			service: svc(), slices: []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "st"), end("10.0.1.9", here1, "rs"))},
			want: inside("10.0.1.9:8080"),
		},
		"those on their way out count when nobody is ready": {
			service: svc(), slices: []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "st"), end("10.0.1.9", here1, "t"))},
			want: inside("10.0.2.9:8080"),
		},
		"internalTrafficPolicy Local: only this node's": {
			service: svc(localPolicy),
			slices:  []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "rs"), end("10.0.1.9", here1, "rs"))},
			want:    inside("10.0.1.9:8080"),
		},
		"internalTrafficPolicy Local: none here, so nobody": {
			service: svc(localPolicy), slices: []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "rs"))}, want: inside(),
		},
		"internalTrafficPolicy Local: this node's last one is on its way out": {
			service: svc(localPolicy),
			slices:  []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "rs"), end("10.0.1.9", here1, "st"))},
			want:    inside("10.0.1.9:8080"),
		},
		"hints for this node": {
			service: svc(),
			slices: []discoveryv1.EndpointSlice{slice(hinted(end("10.0.2.9", there2, "rs"), there2),
				hinted(end("10.0.1.9", here1, "rs"), here1))},
			want: inside("10.0.1.9:8080"),
		},
		"hints for other nodes only leave everybody": {
			service: svc(), slices: []discoveryv1.EndpointSlice{slice(hinted(end("10.0.2.9", there2, "rs"), there2))},
			want: inside("10.0.2.9:8080"),
		},
		"hints for this node count before hints for its zone": {
			service: svc(),
			slices: []discoveryv1.EndpointSlice{slice(both(end("10.0.2.9", there2, "rs"), there2, zone1),
				both(end("10.0.1.9", here1, "rs"), here1, zone1))},
			want: inside("10.0.1.9:8080"),
		},
		"hints for this zone, none of them for this node": {
			service: svc(),
			slices: []discoveryv1.EndpointSlice{slice(both(end("10.0.2.9", there2, "rs"), there2, zone1),
				both(end("10.0.3.9", "node3", "rs"), "node3", "zone2"))},
			want: inside("10.0.2.9:8080"),
		},
		"hints for other zones only leave everybody": {
			service: svc(), slices: []discoveryv1.EndpointSlice{slice(zoned(end("10.0.2.9", there2, "rs"), "zone2"))},
			want: inside("10.0.2.9:8080"),
		},
		"hints that some ready endpoint lacks do not count": {
			service: svc(),
			slices:  []discoveryv1.EndpointSlice{slice(zoned(end("10.0.1.9", here1, "rs"), zone1), end("10.0.2.9", there2, "rs"))},
			want:    inside("10.0.1.9:8080", "10.0.2.9:8080"),
		},
		"hints that only an endpoint lacks which is not ready": {
			service: svc(),
			slices: []discoveryv1.EndpointSlice{slice(zoned(end("10.0.1.9", here1, "rs"), zone1),
				zoned(end("10.0.2.9", there2, "rs"), "zone2"), end("10.0.2.8", there2, "s"))},
			want: inside("10.0.1.9:8080"),
		},
		"addresses that make no sense": {
			service: svc(),
			slices: []discoveryv1.EndpointSlice{slice(end("fd00::1", there2, "rs"), end("127.0.0.1", there2, "rs"),
				end("nonsense", there2, "rs"), end("0.0.0.0", there2, "rs"), discoveryv1.Endpoint{})},
			want: inside(),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, shapes(this().Sets(tt.service, tt.slices)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("sets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFrontends(t *testing.T) {
	proxied, local := corev1.LoadBalancerIPModeProxy, corev1.ServiceExternalTrafficPolicyLocal
	seconds := int32(60)
	ready := []discoveryv1.EndpointSlice{slice(end("10.0.2.9", there2, "rs"))}
	behind := []string{"10.0.2.9:8080"}
	tests := map[string]struct {
		service *corev1.Service
		want    []shape
	}{
		"headless":               {service: svc(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} })},
		"a mere name":            {service: svc(func(s *corev1.Service) { s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeExternalName, "" })},
		"without an address yet": {service: svc(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil })},
		"two families, endpoints in one": {
			service: svc(func(s *corev1.Service) {
				s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, "fd00:96::7")
				s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPv6Protocol)
			}),
			want: []shape{
				{Frontends: []string{vip}, Backends: behind}, {Frontends: []string{"tcp [fd00:96::7]:80"}},
			},
		},
		"an address outside every range is one like others": {
			service: svc(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "203.0.113.7", []string{"203.0.113.7"} }),
			want:    []shape{{Frontends: []string{"tcp 203.0.113.7:80"}, Backends: behind}},
		},
		"a node port, at this node's addresses of the family": {
			service: svc(func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080 }),
			want: []shape{
				{Frontends: []string{vip}, Backends: behind},
				{Frontends: []string{"tcp 172.18.0.11:30080"}, World: []string{"tcp 172.18.0.11:30080"}, Backends: behind},
			},
		},
		"externalIPs, and addresses of load balancers that let packets through": {
			service: svc(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.ExternalIPs = corev1.ServiceTypeLoadBalancer, []string{"192.0.2.7", "192.0.2.7", "2001:db8::7"}
				s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
					{IP: "192.0.2.8"}, {IP: "192.0.2.9", IPMode: &proxied}, {Hostname: "lb.example.org"},
				}
			}),
			want: []shape{
				{Frontends: []string{vip}, Backends: behind},
				{
					Frontends: []string{"tcp 192.0.2.7:80", "tcp 192.0.2.8:80"}, World: []string{"tcp 192.0.2.7:80", "tcp 192.0.2.8:80"},
					Backends: behind,
				},
			},
		},
		"externalTrafficPolicy Local is for those outside: a socket is inside": {
			service: svc(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080
				s.Spec.ExternalTrafficPolicy = local
			}),
			want: []shape{
				{Frontends: []string{vip}, Backends: behind},
				{Frontends: []string{"tcp 172.18.0.11:30080"}, Backends: behind},
				{World: []string{"tcp 172.18.0.11:30080"}, Local: true},
			},
		},
		"a load balancer for some, beside a node port for all": {
			service: svc(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeLoadBalancer, 30080
				s.Spec.LoadBalancerSourceRanges = []string{"203.0.113.9/24", " 198.51.100.0/24 ", "2001:db8::/32", "nonsense"}
				s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.8"}}
			}),
			want: []shape{
				{Frontends: []string{vip}, Backends: behind},
				{
					Frontends: []string{"tcp 172.18.0.11:30080", "tcp 192.0.2.8:80"}, World: []string{"tcp 172.18.0.11:30080"},
					Backends: behind,
				},
				{
					World: []string{"tcp 192.0.2.8:80"}, Backends: behind, Guarded: true,
					Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24")},
				},
			},
		},
		"a load balancer for nobody, by a typing error": {
			service: svc(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.LoadBalancerSourceRanges = corev1.ServiceTypeLoadBalancer, []string{"192.0.2.0/64"}
				s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.8"}}
			}),
			want: []shape{
				{Frontends: []string{vip}, Backends: behind},
				{Frontends: []string{"tcp 192.0.2.8:80"}, Backends: behind},
				{World: []string{"tcp 192.0.2.8:80"}, Backends: behind, Guarded: true},
			},
		},
		"affinity for a time": {
			service: svc(func(s *corev1.Service) {
				s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
				s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
			}),
			want: []shape{{Frontends: []string{vip}, Backends: behind, Affinity: time.Minute}},
		},
		"affinity as long as usual": {
			service: svc(func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }),
			want:    []shape{{Frontends: []string{vip}, Backends: behind, Affinity: 3 * time.Hour}},
		},
		"addresses and ports that make no sense": {
			service: svc(func(s *corev1.Service) {
				s.Spec.ClusterIPs = []string{"nonsense", "127.0.0.1", "224.0.0.1"}
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 70000}, corev1.ServicePort{Port: 81, Protocol: "ICMP"})
			}),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, shapes(this().Sets(tt.service, ready)), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("sets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPorts(t *testing.T) {
	s := svc(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{
			{Name: "http", Port: 80}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53},
		}
	})
	first := slice(end("10.0.1.9", here1, "rs"))
	first.Ports = []discoveryv1.EndpointPort{
		port("http", corev1.ProtocolTCP, 8080), port("dns", corev1.ProtocolUDP, 5353), port("dns-tcp", corev1.ProtocolTCP, 5353),
	}
	// The same named port has another number in another pod.
	second := slice(end("10.0.2.9", there2, "rs"))
	second.Ports = []discoveryv1.EndpointPort{port("http", corev1.ProtocolTCP, 9090)}
	want := []shape{
		{Frontends: []string{"tcp 10.96.0.7:80"}, Backends: []string{"10.0.1.9:8080", "10.0.2.9:9090"}},
		{Frontends: []string{"udp 10.96.0.7:53"}, Backends: []string{"10.0.1.9:5353"}},
		{Frontends: []string{"tcp 10.96.0.7:53"}, Backends: []string{"10.0.1.9:5353"}},
	}
	sets := this().Sets(s, []discoveryv1.EndpointSlice{first, second})
	if diff := cmp.Diff(want, shapes(sets)); diff != "" {
		t.Errorf("sets (-want +got):\n%s", diff)
	}
	names := map[string]bool{}
	for _, set := range sets {
		names[set.Name] = true
	}
	if len(names) != len(sets) {
		t.Errorf("names are not unique: %v", names)
	}
}

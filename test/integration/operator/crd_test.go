// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestEachCRDIsSmall(t *testing.T) {
	const limit = 200 << 10 // An object of the API server has 1.5 MiB at most, an annotation of kubectl 256 KiB.
	files, err := filepath.Glob("../../../config/crd/bases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no CRDs: %v", err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() >= limit {
			t.Errorf("%s has %d bytes, want fewer than %d", file, info.Size(), limit)
		}
	}
}

// refused says how the API server must answer a write: part of its message, or nothing when it takes it.
func (c *cluster) refused(err error, want string) {
	c.t.Helper()
	switch {
	case want == "" && err != nil:
		c.t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		c.t.Errorf("taken, want a refusal about %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		c.t.Errorf("refused with %v, want one about %q", err, want)
	}
}

func TestEndpointSpecRules(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.CiliumEndpointSpec)
		want   string
	}{
		"a good one":                 {change: func(*v1alpha1.CiliumEndpointSpec) {}},
		"the other netns folder":     {change: func(s *v1alpha1.CiliumEndpointSpec) { s.Netns = "/var/run/netns/x" }},
		"no node":                    {change: func(s *v1alpha1.CiliumEndpointSpec) { s.NodeName = "" }, want: "spec.nodeName"},
		"no pod UID":                 {change: func(s *v1alpha1.CiliumEndpointSpec) { s.PodUID = "" }, want: "spec.podUID"},
		"no container":               {change: func(s *v1alpha1.CiliumEndpointSpec) { s.ContainerID = "" }, want: "spec.containerID"},
		"a container like a path":    {change: func(s *v1alpha1.CiliumEndpointSpec) { s.ContainerID = "../x" }, want: "spec.containerID"},
		"a netns of the host":        {change: func(s *v1alpha1.CiliumEndpointSpec) { s.Netns = "/proc/1/ns/net" }, want: "netns must be"},
		"a netns below":              {change: func(s *v1alpha1.CiliumEndpointSpec) { s.Netns = "/run/netns/a/b" }, want: "netns must be"},
		"an interface name too long": {change: func(s *v1alpha1.CiliumEndpointSpec) { s.IfName = "abcdefghijklmnop" }, want: "spec.ifName"},
		"an interface name of a path": {
			change: func(s *v1alpha1.CiliumEndpointSpec) { s.IfName = "a/b" }, want: "spec.ifName",
		},
	}
	c := newCluster(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := c.in(t)
			ep := build.Endpoint(c.name("p")).Obj()
			ep.Name, ep.UID, ep.Finalizers = strings.ToLower(strings.ReplaceAll(name, " ", "-")), "", nil
			tt.change(&ep.Spec)
			c.refused(c.Create(t.Context(), ep), tt.want)
		})
	}
}

func TestEndpointSpecIsImmutable(t *testing.T) {
	c := newCluster(t)
	ep := build.Endpoint(c.name("p")).Obj()
	c.make(ep)
	ep.Spec.ContainerID = "c2"
	c.refused(c.Update(t.Context(), ep), "spec is immutable")
}

func TestEndpointStatusRules(t *testing.T) {
	v4 := func(ip, gateway string) v1alpha1.EndpointAddress {
		return v1alpha1.EndpointAddress{Family: v1alpha1.IPv4, IP: ip, Gateway: gateway}
	}
	tests := map[string]struct {
		change func(*v1alpha1.CiliumEndpointStatus)
		want   string
	}{
		"both families": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			s.Addresses = []v1alpha1.EndpointAddress{
				v4("10.0.0.2", "10.0.0.1"), {Family: v1alpha1.IPv6, IP: "fd00::2", Gateway: "fd00::1"},
			}
		}},
		"two of one family": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			s.Addresses = []v1alpha1.EndpointAddress{v4("10.0.0.2", "10.0.0.1"), v4("10.0.0.3", "10.0.0.1")}
		}, want: "Duplicate value"},
		"an address of the other family": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			s.Addresses = []v1alpha1.EndpointAddress{v4("fd00::2", "10.0.0.1")}
		}, want: "ip must be an address of the given family"},
		"no address at all": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			s.Addresses = []v1alpha1.EndpointAddress{v4("10.0.0.256", "10.0.0.1")}
		}, want: "ip must be an address of the given family"},
		"a gateway of the other family": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			s.Addresses = []v1alpha1.EndpointAddress{v4("10.0.0.2", "fd00::1")}
		}, want: "gateway must be an address of the given family"},
		"an unknown family": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			s.Addresses = []v1alpha1.EndpointAddress{{Family: "IPX", IP: "10.0.0.2", Gateway: "10.0.0.1"}}
		}, want: "family"},
		"an endpoint ID too large": {change: func(s *v1alpha1.CiliumEndpointStatus) { s.EndpointID = 65536 }, want: "endpointID"},
		"identity zero": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			s.Identity = &v1alpha1.EndpointIdentity{Number: 0}
		}, want: "number"},
		"an MTU below IPv6's": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			s.Interface = &v1alpha1.EndpointInterface{HostName: "lxc1", HostIndex: 1, MAC: "x", HostMAC: "y", MTUBytes: 1000}
		}, want: "mtuBytes"},
		"a condition twice": {change: func(s *v1alpha1.CiliumEndpointStatus) {
			ready := metav1.Condition{Type: "Ready", Status: "True", Reason: "Ready", LastTransitionTime: metav1.Now()}
			s.Conditions = []metav1.Condition{ready, ready}
		}, want: "Duplicate value"},
	}
	c := newCluster(t)
	ep := build.Endpoint(c.name("p")).Obj()
	c.make(ep)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := c.in(t)
			c.check(c.get(ep))
			ep.Status = v1alpha1.CiliumEndpointStatus{}
			tt.change(&ep.Status)
			c.refused(c.Status().Update(t.Context(), ep), tt.want)
		})
	}
}

func TestNodeRules(t *testing.T) {
	tests := map[string]struct {
		addresses []v1alpha1.NodeAddress
		podCIDRs  []string
		want      string
	}{
		"both families":             {podCIDRs: []string{"10.0.0.0/24", "fd00::/64"}},
		"an address":                {addresses: []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "192.0.2.1"}}},
		"an address that is none":   {addresses: []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "n1"}}, want: "ip must be an IP address"},
		"a type that is no IP":      {addresses: []v1alpha1.NodeAddress{{Type: "Hostname", IP: "192.0.2.1"}}, want: "Unsupported value"},
		"a CIDR that is none":       {podCIDRs: []string{"10.0.0.0"}, want: "CIDR without host bits"},
		"a CIDR with host bits":     {podCIDRs: []string{"10.0.0.1/24"}, want: "CIDR without host bits"},
		"CIDRs that overlap":        {podCIDRs: []string{"10.0.0.0/16", "10.0.5.0/24"}, want: "must not overlap"},
		"IPv6 CIDRs that overlap":   {podCIDRs: []string{"fd00::/64", "fd00::/112"}, want: "must not overlap"},
		"the same range twice":      {podCIDRs: []string{"10.0.0.0/24", "10.0.0.0/24"}, want: "Duplicate value"},
		"neighbours do not overlap": {podCIDRs: []string{"10.0.0.0/25", "10.0.0.128/25"}},
	}
	c := newCluster(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cn := build.CiliumNode(strings.ToLower(strings.ReplaceAll(name, " ", "-")), tt.podCIDRs...)
			cn.UID, cn.Spec.Addresses = "", tt.addresses
			c.in(t).refused(c.Create(t.Context(), cn), tt.want)
		})
	}
}

func TestIdentityRules(t *testing.T) {
	tests := map[string]struct {
		name, value string
		want        string
	}{
		"the lowest":               {name: "256", value: "v"},
		"the highest":              {name: "65535", value: "v"},
		"a reserved number":        {name: "255", value: "v", want: "from 256 to 65535"},
		"beyond the range":         {name: "65536", value: "v", want: "from 256 to 65535"},
		"beyond an integer":        {name: "99999999999999999999", value: "v", want: "from 256 to 65535"},
		"a leading zero":           {name: "0256", value: "v", want: "from 256 to 65535"},
		"no number":                {name: "client", value: "v", want: "from 256 to 65535"},
		"a value that is too long": {name: "300", value: strings.Repeat("x", 257), want: "Too long"},
	}
	c := newCluster(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			id := build.Identity(tt.name, "k8s:app", tt.value)
			id.UID = ""
			c.in(t).refused(c.Create(t.Context(), id), tt.want)
		})
	}
	t.Run("without labels", func(t *testing.T) {
		id := build.Identity("301")
		id.UID = ""
		c.in(t).refused(c.Create(t.Context(), id), "at least 1 properties")
	})
	t.Run("labels never change", func(t *testing.T) {
		id := build.Identity("302", "k8s:app", "a")
		c.in(t).make(id)
		id.Spec.Labels["k8s:app"] = "b"
		c.in(t).refused(c.Update(t.Context(), id), "labels of an identity never change")
	})
}

func TestConfigRules(t *testing.T) {
	tests := map[string]struct {
		maskSize int32
		cidrs    []string
		change   func(*v1alpha1.CiliumConfig)
		want     string
	}{
		"a pool a family":        {maskSize: 112, cidrs: []string{"fd00::/96"}},
		"several CIDRs":          {maskSize: 24, cidrs: []string{"10.0.0.0/16", "10.9.0.0/16"}},
		"mode kubernetes":        {},
		"another name":           {change: func(c *v1alpha1.CiliumConfig) { c.Name = "mine" }, want: "its name is default"},
		"no pool":                {change: func(c *v1alpha1.CiliumConfig) { c.Spec.IPAM.Mode = v1alpha1.IPAMClusterPool }, want: "needs a pool"},
		"an unknown mode":        {change: func(c *v1alpha1.CiliumConfig) { c.Spec.IPAM.Mode = "dhcp" }, want: "Unsupported value"},
		"CIDR with host bits":    {maskSize: 24, cidrs: []string{"10.0.0.1/16"}, want: "CIDR without host bits"},
		"CIDRs that overlap":     {maskSize: 24, cidrs: []string{"10.0.0.0/8", "10.9.0.0/16"}, want: "must not overlap"},
		"a CIDR too small":       {maskSize: 24, cidrs: []string{"10.0.0.0/25"}, want: "no smaller than ipv4.maskSize"},
		"an IPv6 CIDR too small": {maskSize: 64, cidrs: []string{"fd00::/96"}, want: "no smaller than ipv6.maskSize"},
		"an IPv4 mask too long":  {maskSize: 31, cidrs: []string{"10.0.0.0/16"}, want: "at most 30"},
		"an IPv6 mask too long":  {maskSize: 127, cidrs: []string{"fd00::/96"}, want: "less than or equal to 126"},
		"a pool beside mode kubernetes": {
			maskSize: 24, cidrs: []string{"10.0.0.0/16"},
			change: func(c *v1alpha1.CiliumConfig) { c.Spec.IPAM.Mode = v1alpha1.IPAMKubernetes },
			want:   "remove ipv4 and ipv6",
		},
		"IPv6 in the pool of IPv4": {
			change: func(c *v1alpha1.CiliumConfig) {
				c.Spec.IPAM.Mode = v1alpha1.IPAMClusterPool
				c.Spec.IPAM.IPv4 = &v1alpha1.ClusterPool{CIDRs: []string{"fd00::/16"}, MaskSize: 24}
			},
			want: "ipv4.cidrs must be IPv4",
		},
		"IPv4 in the pool of IPv6": {
			change: func(c *v1alpha1.CiliumConfig) {
				c.Spec.IPAM.Mode = v1alpha1.IPAMClusterPool
				c.Spec.IPAM.IPv6 = &v1alpha1.ClusterPool{CIDRs: []string{"10.0.0.0/16"}, MaskSize: 24}
			},
			want: "ipv6.cidrs must be IPv6",
		},
		"a cluster name with a dot": {change: func(c *v1alpha1.CiliumConfig) { c.Spec.ClusterName = "a.b" }, want: "clusterName"},
		"an unknown routing mode":   {change: func(c *v1alpha1.CiliumConfig) { c.Spec.RoutingMode = "magic" }, want: "routingMode"},
		"a port beyond UDP's":       {change: func(c *v1alpha1.CiliumConfig) { c.Spec.TunnelPort = 65536 }, want: "tunnelPort"},
		"unknown forwarding":        {change: func(c *v1alpha1.CiliumConfig) { c.Spec.HostForwarding = "magic" }, want: "hostForwarding"},
		"unknown masquerading":      {change: func(c *v1alpha1.CiliumConfig) { c.Spec.Masquerade = "Maybe" }, want: "masquerade"},
		"an unknown algorithm": {
			change: func(c *v1alpha1.CiliumConfig) { c.Spec.LoadBalancer.Algorithm = "roulette" }, want: "loadBalancer.algorithm",
		},
		"an unknown mode of the load balancer": {
			change: func(c *v1alpha1.CiliumConfig) { c.Spec.LoadBalancer.Mode = "magic" }, want: "loadBalancer.mode",
		},
		"direct return through the tunnel": {change: direct, want: "dsr needs routingMode native"},
		"direct return beside kube-proxy": {
			change: func(c *v1alpha1.CiliumConfig) {
				direct(c)
				c.Spec.RoutingMode, c.Spec.HostForwarding = v1alpha1.RoutingNative, v1alpha1.ForwardingStack
			},
			want: "hostForwarding bpf",
		},
		"unknown acceleration": {
			change: func(c *v1alpha1.CiliumConfig) { c.Spec.LoadBalancer.Acceleration = "magic" }, want: "loadBalancer.acceleration",
		},
		"acceleration beside the tunnel": {
			change: func(c *v1alpha1.CiliumConfig) { c.Spec.LoadBalancer.Acceleration = v1alpha1.AccelerationNative },
			want:   "acceleration native needs routingMode native",
		},
		"acceleration as far as it goes beside the tunnel": {
			maskSize: 24, cidrs: []string{"10.0.0.0/16"},
			change: func(c *v1alpha1.CiliumConfig) { c.Spec.LoadBalancer.Acceleration = v1alpha1.AccelerationBestEffort },
		},
		"acceleration of native routing": {
			maskSize: 24, cidrs: []string{"10.0.0.0/16"},
			change: func(c *v1alpha1.CiliumConfig) {
				c.Spec.RoutingMode, c.Spec.LoadBalancer.Acceleration = v1alpha1.RoutingNative, v1alpha1.AccelerationNative
			},
		},
		"an empty label prefix": {
			change: func(c *v1alpha1.CiliumConfig) { c.Spec.Identity.ExcludeLabels = []string{""} }, want: "excludeLabels",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			cfg := build.Config(tt.maskSize, tt.cidrs...)
			cfg.UID = ""
			if tt.change != nil {
				tt.change(cfg)
			}
			c.refused(c.Create(t.Context(), cfg), tt.want)
		})
	}
}

func direct(c *v1alpha1.CiliumConfig) { c.Spec.LoadBalancer.Mode = v1alpha1.LoadBalancerDSR }

func TestConfigOfDirectReturn(t *testing.T) {
	c := newCluster(t)
	cfg := build.Config(24, "10.77.0.0/16")
	direct(cfg)
	cfg.Spec.RoutingMode = v1alpha1.RoutingNative
	c.make(cfg)
	c.check(c.get(cfg))
}

func TestConfigDefaults(t *testing.T) {
	c := newCluster(t)
	cfg := config()
	cfg.Spec.IPAM.IPv4 = &v1alpha1.ClusterPool{CIDRs: []string{"10.0.0.0/16"}, MaskSize: 24}
	c.make(cfg)
	c.check(c.get(cfg))
	got := cfg.Spec
	got.IPAM.IPv4, got.Identity = nil, v1alpha1.IdentityConfig{}
	want := v1alpha1.CiliumConfigSpec{
		ClusterName: "default", IPAM: v1alpha1.IPAMConfig{Mode: v1alpha1.IPAMClusterPool}, RoutingMode: v1alpha1.RoutingTunnel,
		TunnelPort: 8472, HostForwarding: v1alpha1.ForwardingBPF, Masquerade: v1alpha1.MasqueradeEnabled,
		LoadBalancer: v1alpha1.LoadBalancerConfig{
			Mode: v1alpha1.LoadBalancerSNAT, Algorithm: v1alpha1.AlgorithmRandom, Acceleration: v1alpha1.AccelerationDisabled,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestConfigIsFixedOnceInUse(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.IPAMConfig)
		want   string
	}{
		"another CIDR": {change: func(s *v1alpha1.IPAMConfig) { s.IPv4.CIDRs = append(s.IPv4.CIDRs, "10.9.0.0/16") }},
		"another pool": {change: func(s *v1alpha1.IPAMConfig) {
			s.IPv6 = &v1alpha1.ClusterPool{CIDRs: []string{"fd00::/96"}, MaskSize: 112}
		}},
		"another mode": {change: func(s *v1alpha1.IPAMConfig) {
			*s = v1alpha1.IPAMConfig{Mode: v1alpha1.IPAMKubernetes}
		}, want: "ipam.mode is fixed"},
		"another mask": {change: func(s *v1alpha1.IPAMConfig) { s.IPv4.MaskSize = 26 }, want: "may only get more cidrs"},
		"one CIDR less": {change: func(s *v1alpha1.IPAMConfig) {
			s.IPv4.CIDRs = []string{"10.8.0.0/16"}
		}, want: "may only get more cidrs"},
		"one pool less": {change: func(s *v1alpha1.IPAMConfig) {
			s.IPv4, s.IPv6 = nil, &v1alpha1.ClusterPool{CIDRs: []string{"fd00::/96"}, MaskSize: 112}
		}, want: "ipam.ipv4 may only get more cidrs"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			cfg := build.Config(24, "10.77.0.0/16")
			at := metav1.Now()
			cfg.Status.AllocatedAt = &at
			c.make(cfg)
			c.check(c.get(cfg))
			tt.change(&cfg.Spec.IPAM)
			c.refused(c.Update(t.Context(), cfg), tt.want)
		})
	}
	t.Run("one pool of IPv6 less", func(t *testing.T) {
		c := newCluster(t)
		cfg := build.Config(112, "fd00::/96")
		at := metav1.Now()
		cfg.Status.AllocatedAt = &at
		c.make(cfg)
		c.check(c.get(cfg))
		cfg.Spec.IPAM.IPv6 = nil
		cfg.Spec.IPAM.IPv4 = &v1alpha1.ClusterPool{CIDRs: []string{"10.0.0.0/16"}, MaskSize: 24}
		c.refused(c.Update(t.Context(), cfg), "ipam.ipv6 may only get more cidrs")
	})
}

// TestEndpointsCanBeSelectedByNode is what the agents' caches rest on.
func TestEndpointsCanBeSelectedByNode(t *testing.T) {
	c := newCluster(t)
	c.make(build.Endpoint(c.name("a")).OnNode("n1").Obj(), build.Endpoint(c.name("b")).OnNode("n2").Obj())
	var list v1alpha1.CiliumEndpointList
	c.check(c.List(t.Context(), &list, client.MatchingFields{"spec.nodeName": "n2"}))
	if len(list.Items) != 1 || list.Items[0].Name != "b" {
		t.Errorf("selected %d endpoints, want b alone", meta.LenList(&list))
	}
}

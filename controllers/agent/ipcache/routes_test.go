// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipcache

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/test/build"
)

// ciliumNode is a node with addresses and ranges.
func ciliumNode(name string, addrs []string, cidrs ...string) *v1alpha1.CiliumNode {
	node := build.CiliumNode(name, cidrs...)
	for _, addr := range addrs {
		node.Spec.Addresses = append(node.Spec.Addresses, v1alpha1.NodeAddress{Type: "InternalIP", IP: addr})
	}
	return node
}

// hereAt is node n1 with addresses.
func hereAt(addrs ...string) here {
	h := here{name: "n1"}
	for _, addr := range addrs {
		h.addrs = append(h.addrs, netip.MustParseAddr(addr))
	}
	return h
}

// route is "prefix identity via", via "" being this node.
func route(prefix string, id dp.Identity, via string) dp.Route {
	r := dp.Route{Prefix: netip.MustParsePrefix(prefix), Identity: id}
	if via != "" {
		r.Node = netip.MustParseAddr(via)
	}
	return r
}

func TestNodeRoutes(t *testing.T) {
	tests := map[string]struct {
		node *v1alpha1.CiliumNode
		want []dp.Route
	}{
		"this node": {
			node: ciliumNode("n1", []string{"192.0.2.1", "2001:db8::1"}, "10.0.1.0/24"),
			want: []dp.Route{
				route("192.0.2.1/32", 1, ""), route("2001:db8::1/128", 1, ""), route("10.0.1.1/32", 1, ""), route("10.0.1.0/24", 0, ""),
			},
		},
		"another node": {
			node: ciliumNode("n2", []string{"192.0.2.2"}, "10.0.2.0/24", "fd00:2::/64"),
			want: []dp.Route{
				route("192.0.2.2/32", 6, "192.0.2.2"), route("10.0.2.1/32", 6, "192.0.2.2"), route("fd00:2::1/128", 6, "192.0.2.2"),
				route("10.0.2.0/24", 0, "192.0.2.2"), route("fd00:2::/64", 0, "192.0.2.2"),
			},
		},
		"another node that names IPv6 first, as this one does not": {
			node: ciliumNode("n2", []string{"2001:db8::2", "192.0.2.2"}, "10.0.2.0/24"),
			want: []dp.Route{
				route("2001:db8::2/128", 6, "192.0.2.2"), route("192.0.2.2/32", 6, "192.0.2.2"), route("10.0.2.1/32", 6, "192.0.2.2"),
				route("10.0.2.0/24", 0, "192.0.2.2"),
			},
		},
		"another node of IPv6 alone": {
			node: ciliumNode("n2", []string{"2001:db8::2"}, "fd00:2::/64"),
			want: []dp.Route{
				route("2001:db8::2/128", 6, "2001:db8::2"), route("fd00:2::1/128", 6, "2001:db8::2"), route("fd00:2::/64", 0, "2001:db8::2"),
			},
		},
		"another node without a pool yet":     {node: ciliumNode("n2", []string{"192.0.2.2"}), want: []dp.Route{route("192.0.2.2/32", 6, "192.0.2.2")}},
		"another node without an address yet": {node: ciliumNode("n2", nil, "10.0.2.0/24")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := hereAt("192.0.2.1", "2001:db8::1").nodeRoutes(tt.node)
			if diff := cmp.Diff(tt.want, got, comparers()...); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndpointRoutes(t *testing.T) {
	const in, out = "10.0.2.7", "10.0.1.7"
	n2 := ciliumNode("n2", []string{"192.0.2.2"}, "10.0.2.0/24", "fd00:2::/64")
	endpoint := func(ip string) *build.EndpointBuilder {
		return build.Endpoint("default/web").OnNode("n2").Identity(1001).Address(v1alpha1.IPv4, ip, "10.0.2.1")
	}
	untrusted := endpoint(in).Obj()
	untrusted.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionUntrusted, Status: metav1.ConditionTrue}}
	trusted := endpoint(in).Obj()
	trusted.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionUntrusted, Status: metav1.ConditionFalse}}
	anonymous := endpoint(in).Obj()
	anonymous.Status.Identity = nil
	want := []dp.Route{route("10.0.2.7/32", 1001, "192.0.2.2")}
	tests := map[string]struct {
		cep  *v1alpha1.CiliumEndpoint
		node *v1alpha1.CiliumNode
		want []dp.Route
	}{
		"of a pod elsewhere":                 {cep: endpoint(in).Obj(), node: n2, want: want},
		"of both families":                   {cep: endpoint(in).Address(v1alpha1.IPv6, "fd00:2::7", "").Obj(), node: n2, want: append(want, route("fd00:2::7/128", 1001, "192.0.2.2"))},
		"of a pod here":                      {cep: endpoint(in).Obj(), node: ciliumNode("n1", nil, "10.0.2.0/24"), want: []dp.Route{route("10.0.2.7/32", 1001, "")}},
		"not outside of its node's pool":     {cep: endpoint(out).Obj(), node: n2},
		"not of its node's router":           {cep: endpoint("10.0.2.1").Obj(), node: n2},
		"not of a node without a pool":       {cep: endpoint(in).Obj(), node: ciliumNode("n2", []string{"192.0.2.2"})},
		"not of a node that is out of reach": {cep: endpoint(in).Obj(), node: ciliumNode("n2", nil, "10.0.2.0/24")},
		"not of an untrusted endpoint":       {cep: untrusted, node: n2},
		"of an endpoint trusted again":       {cep: trusted, node: n2, want: want},
		"not without an identity":            {cep: anonymous, node: n2},
		"not of one that says it is a host":  {cep: endpoint(in).Identity(1).Obj(), node: n2},
		"not of one that says it is a range": {cep: endpoint(in).Identity(1<<24 + 1).Obj(), node: n2},
		"not of what is no address":          {cep: endpoint("web").Obj(), node: n2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := hereAt("192.0.2.1").endpointRoutes(tt.cep, tt.node)
			if diff := cmp.Diff(tt.want, got, comparers()...); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

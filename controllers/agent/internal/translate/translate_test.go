// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package translate

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestPeer(t *testing.T) {
	tests := map[string]struct {
		addrs []v1alpha1.NodeAddress
		cidrs []string
		want  string // addresses, ranges, routers
	}{
		"both families": {
			addrs: []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "192.0.2.1"}, {Type: "InternalIP", IP: "2001:db8::1"}},
			cidrs: []string{"10.0.1.0/24", "fd00:1::/64"},
			want:  "[192.0.2.1 2001:db8::1] [10.0.1.0/24 fd00:1::/64] [10.0.1.1 fd00:1::1]",
		},
		"the router of a family is that of its first range, IPv4 first": {
			cidrs: []string{"fd00:1::/64", "10.0.1.0/24", "10.0.9.0/24", "fd00:9::/64"},
			want:  "[] [fd00:1::/64 10.0.1.0/24 10.0.9.0/24 fd00:9::/64] [10.0.1.1 fd00:1::1]",
		},
		"tunnels end at internal addresses, whatever the kubelet names first": {
			addrs: []v1alpha1.NodeAddress{{Type: "ExternalIP", IP: "203.0.113.1"}, {Type: "InternalIP", IP: "192.0.2.1"}},
			want:  "[192.0.2.1 203.0.113.1] [] []",
		},
		"what does not parse is left out": {
			addrs: []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "node"}, {Type: "InternalIP", IP: "192.0.2.1"}},
			cidrs: []string{"10.0.1.0", "10.0.1.0/24"},
			want:  "[192.0.2.1] [10.0.1.0/24] [10.0.1.1]",
		},
		"nothing yet": {want: "[] [] []"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node := build.CiliumNode("n1", tt.cidrs...)
			node.Spec.Addresses = tt.addrs
			peer := Peer(node)
			if diff := cmp.Diff(tt.want, fmt.Sprint(peer.Addrs, " ", peer.PodCIDRs, " ", peer.Routers)); diff != "" {
				t.Errorf("peer (-want +got):\n%s", diff)
			}
			if peer.Name != "n1" {
				t.Errorf("the name is %q", peer.Name)
			}
		})
	}
}

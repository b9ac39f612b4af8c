// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/e2e/framework"
	"github.com/ciliate-io/ciliate/test/e2e/report"
)

// forgery is what an attacker sends, and the counter on which node must show it.
type forgery struct {
	kind      string
	from, to  string
	peer      string
	vni       int64
	arrives   bool
	node      *framework.Node
	direction string
	reason    string
}

const forgedPackets = 20

// TestForgedPacketsDoNotArrive: a pod with the raw sockets that runtimes give every pod sends what is not its own, on the
// wire and into the tunnel. Nothing arrives, and each packet is counted with the right reason.
func TestForgedPacketsDoNotArrive(t *testing.T) {
	c := framework.Open(t)
	one, two := c.Nodes[0], c.Nodes[1]
	near, far := listener("near", one), listener("far", two)
	attacker := framework.Pod{Name: "attacker", Node: one, Probe: []string{"serve", framework.EchoPort}}
	pods := c.StartPods(t, attacker, c.Listening(t, near), c.Listening(t, far))
	own4, own6 := addressOf(t, pods[0], v1alpha1.IPv4), addressOf(t, pods[0], v1alpha1.IPv6)
	near4, near6 := addressOf(t, pods[1], v1alpha1.IPv4), addressOf(t, pods[1], v1alpha1.IPv6)
	far4, far6 := addressOf(t, pods[2], v1alpha1.IPv4), addressOf(t, pods[2], v1alpha1.IPv6)
	identity := c.Endpoint(t, "near").Status.Identity.Number

	cases := map[string]forgery{
		"its own address, near":         {kind: "honest", from: own4, to: near4, arrives: true},
		"its own address, far":          {kind: "honest", from: own4, to: far4, arrives: true},
		"its own IPv6 address, far":     {kind: "honest", from: own6, to: far6, arrives: true},
		"another pod's address":         {kind: "source", from: near4, to: far4, reason: "INVALID_SOURCE_IP"},
		"another pod's address, near":   {kind: "source", from: far4, to: near4, reason: "INVALID_SOURCE_IP"},
		"another pod's IPv6 address":    {kind: "source", from: near6, to: far6, reason: "INVALID_SOURCE_IP"},
		"the node's address":            {kind: "source", from: one.Addrs[0], to: far4, reason: "INVALID_SOURCE_IP"},
		"another MAC":                   {kind: "mac", from: own4, to: near4, reason: "INVALID_SOURCE_MAC"},
		"to another MAC":                {kind: "destination-mac", from: own4, to: near4, reason: "INVALID_DESTINATION_MAC"},
		"the tunnel to the other node":  {kind: "socket", from: near4, to: far4, peer: two.Addrs[0], vni: identity, reason: "ENCAP_PROHIBITED"},
		"the tunnel to its own node":    {kind: "socket", from: far4, to: near4, peer: one.Addrs[0], vni: identity, reason: "ENCAP_PROHIBITED"},
		"the tunnel over IPv6":          {kind: "socket", from: near6, to: far6, peer: lastOf(two.Addrs), vni: identity, reason: "ENCAP_PROHIBITED"},
		"the tunnel in fragments":       {kind: "tunnel-fragments", from: near4, to: far4, peer: two.Addrs[0], vni: identity, reason: "ENCAP_PROHIBITED"},
		"a VLAN":                        {kind: "vlan", from: own4, to: near4, reason: "VLAN_FILTERED"},
		"ARP for another pod's address": {kind: "arp", from: near4, to: near4, reason: "NOISE"},
		"a router advertisement":        {kind: "router-advertisement", from: "fe80::bad", to: near6, reason: "FORBIDDEN_ICMPV6"},
		"an ICMP redirect":              {kind: "redirect", from: own4, to: near4, reason: "FORBIDDEN_ICMPV4"},
		"an answer of a DHCP server":    {kind: "dhcp-server", from: own4, to: near4, reason: "DHCP_SERVER"},
		"an IPv4-mapped address":        {kind: "mapped", from: own4, to: near4, reason: "MAPPED_ADDRESS"},
		"another ethertype":             {kind: "ethertype", from: own4, to: near4, reason: "UNSUPPORTED_L3_PROTOCOL"},
		"multicast":                     {kind: "source", from: own4, to: "224.0.0.1", reason: "MULTICAST"},
		"an address that nobody has":    {kind: "source", from: own4, to: unused(near4), reason: "STALE_OR_UNROUTABLE_IP"},
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			f.node, f.direction = one, "egress"
			text := strings.ReplaceAll(t.Name(), "/", "-")
			f.try(t, c, text, func(ctx context.Context, arguments ...string) error {
				gateway := c.Endpoint(t, "attacker").Status.Interface.HostMAC
				_, err := c.Exec(ctx, "attacker", append([]string{"/e2e/forge", "-gateway", gateway}, arguments...)...)
				return err
			})
		})
	}
}

// TestForgedTunnelPacketsDoNotArrive: who can send to a node's tunnel port, from outside the cluster or from another
// node, still cannot say what he likes.
func TestForgedTunnelPacketsDoNotArrive(t *testing.T) {
	c := framework.Open(t)
	one, two := c.Nodes[0], c.Nodes[1]
	pods := c.StartPods(t, c.Listening(t, listener("near", one)), c.Listening(t, listener("far", two)))
	near4, far4 := addressOf(t, pods[0], v1alpha1.IPv4), addressOf(t, pods[1], v1alpha1.IPv4)
	identity := c.Endpoint(t, "near").Status.Identity.Number
	peer := two.Addrs[0]

	cases := map[string]struct {
		forgery
		world bool
	}{
		"a pod of that node":                 {forgery{from: near4, to: far4, vni: identity, arrives: true}, false},
		"a pod, from outside the cluster":    {forgery{from: near4, to: far4, vni: identity, reason: "UNKNOWN_SENDER"}, true},
		"a node, from outside the cluster":   {forgery{from: one.Addrs[0], to: far4, vni: 1, reason: "UNKNOWN_SENDER"}, true},
		"the reserved identity of the world": {forgery{from: near4, to: far4, vni: 2, reason: "INVALID_VNI"}, false},
		"an identity that nobody has":        {forgery{from: near4, to: far4, vni: 255 << 8, reason: "INVALID_IDENTITY"}, false},
		"a pod of the receiving node":        {forgery{from: far4, to: far4, vni: identity, reason: "TUNNEL_SOURCE"}, false},
		"an address outside the cluster":     {forgery{from: "192.0.2.2", to: far4, vni: identity, reason: "TUNNEL_SOURCE"}, false},
		"a node that says a pod's address":   {forgery{from: near4, to: far4, vni: 1, reason: "TUNNEL_SOURCE"}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := tc.forgery
			f.kind, f.peer, f.node, f.direction = "socket", peer, two, "ingress"
			f.try(t, c, strings.ReplaceAll(t.Name(), "/", "-"), func(ctx context.Context, arguments ...string) error {
				sender := one
				if tc.world {
					sender = c.World()
				}
				_, err := sender.Run(ctx, append([]string{c.Program("forge")}, arguments...)...)
				return err
			})
		})
	}
}

// try sends the forgery through run and looks at what came of it.
func (f forgery) try(t *testing.T, c *framework.Cluster, text string, run func(context.Context, ...string) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	before := f.counter(t)
	arguments := []string{"-kind", f.kind, "-from", f.from, "-to", f.to, "-text", text, "-count", fmt.Sprint(forgedPackets)}
	if f.peer != "" {
		arguments = append(arguments, "-peer", f.peer, "-vni", fmt.Sprint(f.vni))
	}
	if err := run(ctx, arguments...); err != nil {
		t.Fatal(err)
	}
	if f.arrives {
		framework.Eventually(t, 5*time.Second, "honest packets to arrive", func(context.Context) error {
			if n := arrived(t, c, text); n != forgedPackets {
				return fmt.Errorf("%d of %d did", n, forgedPackets)
			}
			return nil
		})
		return
	}
	if counted := f.counter(t) - before; counted < forgedPackets {
		t.Errorf("%s counted %d packets as %s, want %d", f.node.Name, counted, f.reason, forgedPackets)
	}
	time.Sleep(200 * time.Millisecond)
	if n := arrived(t, c, text); n != 0 {
		t.Errorf("%d forged packets arrived", n)
	}
}

func (f forgery) counter(t *testing.T) uint64 {
	t.Helper()
	if f.reason == "" {
		return 0
	}
	return f.node.Packets(t, f.reason, f.direction)
}

// arrived counts the packets with that text, of any sender, at both listeners.
func arrived(t *testing.T, c *framework.Cluster, text string) int {
	t.Helper()
	n := 0
	for _, name := range []string{"near", "far"} {
		r, err := report.Read(c.ReportPath(name))
		if err != nil {
			t.Fatal(err)
		}
		for datagram, count := range r.Datagrams {
			if strings.HasSuffix(datagram, " "+text) {
				n += count
			}
		}
	}
	return n
}

func listener(name string, node *framework.Node) framework.Pod {
	return framework.Pod{Name: name, Node: node, Labels: map[string]string{"app": name}}
}

func lastOf(addrs []string) string { return addrs[len(addrs)-1] }

func isIPv6(ip string) bool { return strings.Contains(ip, ":") }

// unused is an address of the same range that no pod has: the network's own.
func unused(ip string) string { return ip[:strings.LastIndex(ip, ".")] + ".0" }

// addressOf is the pod's address of that family.
func addressOf(t *testing.T, pod *corev1.Pod, family v1alpha1.AddressFamily) string {
	t.Helper()
	for _, ip := range pod.Status.PodIPs {
		if (family == v1alpha1.IPv6) == isIPv6(ip.IP) {
			return ip.IP
		}
	}
	t.Fatalf("%s has no %s address", pod.Name, family)
	return ""
}

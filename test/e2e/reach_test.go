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

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// netexec answers over HTTP who it is and who asked.
func netexec(name string, node *framework.Node) framework.Pod {
	return framework.Pod{Name: name, Node: node, Labels: map[string]string{"app": name}, Args: []string{"netexec", "--http-port=8080"}}
}

// TestEveryoneReachesEveryone: pods on the same and on another node, hosts to pods, pods to nodes and to the world, in
// every family that the pods have.
func TestEveryoneReachesEveryone(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pods := c.StartPods(t, netexec("reach-a", one), netexec("reach-b", one), netexec("reach-c", c.Other(one)))
	reachEveryone(t, c, pods)
	c.NoLeaks(t)
}

func reachEveryone(t *testing.T, c *framework.Cluster, pods []*corev1.Pod) {
	t.Helper()
	ask := asking(c, pods)
	for _, from := range pods {
		script := "set -e; " + ask
		if len(from.Status.PodIPs) == 0 {
			t.Fatalf("%s has no address", from.Name)
		}
		for _, ip := range from.Status.PodIPs {
			script += fmt.Sprintf("echo world saw $(curl -sS --max-time 5 %s/clientip); ", url(worldOf(ip.IP), 8080))
		}
		framework.Eventually(t, 20*time.Second, from.Name+" to reach everyone", func(ctx context.Context) error {
			out, err := c.Exec(ctx, from.Name, "sh", "-c", script)
			if err != nil {
				return err
			}
			return wasMasqueraded(out, c.Node(t, from.Spec.NodeName))
		})
	}
	for _, node := range c.Nodes {
		framework.Eventually(t, 20*time.Second, node.Name+" to reach every pod", func(ctx context.Context) error {
			_, err := node.Run(ctx, "sh", "-c", "set -e; "+ask)
			return err
		})
	}
}

// asking is a script that asks every pod for its name, and pings every node.
func asking(c *framework.Cluster, pods []*corev1.Pod) string {
	var script strings.Builder
	for _, to := range pods {
		for _, ip := range to.Status.PodIPs {
			fmt.Fprintf(&script, "[ $(curl -sS --max-time 5 %s/hostname) = %s ]; ", url(ip.IP, 8080), to.Name)
		}
	}
	for _, node := range c.Nodes {
		for _, addr := range node.Addrs {
			if strings.Contains(addr, ":") == strings.Contains(pods[0].Status.PodIP, ":") || len(pods[0].Status.PodIPs) > 1 {
				fmt.Fprintf(&script, "ping -c 1 -W 2 %s >/dev/null; ", addr)
			}
		}
	}
	return script.String()
}

// wasMasqueraded checks that the world saw one of the node's addresses, every time it was asked.
func wasMasqueraded(out string, node *framework.Node) error {
	for line := range strings.Lines(out) {
		seen := false
		for _, addr := range node.Addrs {
			seen = seen || strings.HasPrefix(line, "world saw "+addr+":") || strings.HasPrefix(line, "world saw ["+addr+"]:")
		}
		if !seen {
			return fmt.Errorf("%q names no address of %s: %v", line, node.Name, node.Addrs)
		}
	}
	return nil
}

func worldOf(ip string) string {
	if strings.Contains(ip, ":") {
		return "2001:db8::2"
	}
	return "192.0.2.2"
}

func url(ip string, port int) string {
	if strings.Contains(ip, ":") {
		ip = "[" + ip + "]"
	}
	return fmt.Sprintf("http://%s:%d", ip, port)
}

// TestLargestPackets: what fits the MTU passes without a fragment, one byte more does not, and is cut where that is
// allowed.
func TestLargestPackets(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pods := c.StartPods(t, netexec("mtu-a", one), netexec("mtu-b", one), netexec("mtu-c", c.Other(one)))
	mtu := int(c.Endpoint(t, "mtu-a").Status.Interface.MTUBytes)
	for _, to := range pods[1:] {
		for _, ip := range to.Status.PodIPs {
			headers := 28
			if strings.Contains(ip.IP, ":") {
				headers = 48
			}
			t.Logf("%s at %s, MTU %d", to.Name, ip.IP, mtu)
			ping(t, c, ip.IP, true, "-M", "do", "-s", fmt.Sprint(mtu-headers))
			ping(t, c, ip.IP, false, "-M", "do", "-s", fmt.Sprint(mtu-headers+1))
			ping(t, c, ip.IP, true, "-M", "dont", "-s", fmt.Sprint(mtu-headers+1))
			ping(t, c, ip.IP, true, "-M", "dont", "-s", "4000")
		}
	}
}

func ping(t *testing.T, c *framework.Cluster, to string, want bool, options ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	command := append([]string{"ping", "-c", "2", "-W", "2", "-i", "0.2"}, options...)
	out, err := c.Exec(ctx, "mtu-a", append(command, to)...)
	if got := err == nil; got != want {
		t.Errorf("%s %s answered: %t, want %t: %s %v", strings.Join(command, " "), to, got, want, out, err)
	}
}

// TestNarrowPaths: ICMP errors of a router outside reach who must send less, through masquerade and through node ports of
// both nodes. Neither side of a TCP connection knows else, and it hangs with its first large segment.
func TestNarrowPaths(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pod := c.StartPods(t, server("narrow", "narrow", one))[0]
	svc := createService(t, c, "narrow", "narrow", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	fabric := c.Fabric()
	fabric.MustRun(t, "ip", "link", "set", "p-world", "mtu", "1300")
	t.Cleanup(func() { fabric.MustRun(t, "ip", "link", "set", "p-world", "mtu", "1500") })

	up := "set -e; "
	for _, ip := range pod.Status.PodIPs {
		up += fmt.Sprintf("curl -sS --max-time 5 -o /dev/null --data $(printf %%020000d 0) %s/clientip; ", url(worldOf(ip.IP), 8080))
	}
	framework.Eventually(t, 30*time.Second, "a large request of a pod to the world", func(ctx context.Context) error {
		_, err := c.Exec(ctx, pod.Name, "sh", "-c", up)
		return err
	})
	var down strings.Builder
	for _, node := range c.Nodes {
		for _, addr := range node.Addrs {
			fmt.Fprintf(&down, "[ $(curl -sS --max-time 5 '%s/shell?cmd=seq+5000' | wc -c) -gt 20000 ]; ", url(addr, int(svc.Spec.Ports[0].NodePort)))
		}
	}
	// Another pod: this one knows of the narrow way by now.
	c.DeletePod(t, pod)
	c.StartPods(t, server("narrow-again", "narrow", one))
	succeeds(t, c.World(), "a large answer of a node port to the world", down.String())
	c.NoLeaks(t)
}

// TestLargePacketsToNodePorts: a datagram as large as the world's link, not to be cut, that leads through the tunnel is
// answered by ICMP, and what the world cuts itself arrives, as does the answer.
func TestLargePacketsToNodePorts(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	c.StartPods(t, server("large", "large", one))
	svc := createService(t, c, "large", "large", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	mtu, world := int(c.Endpoint(t, "large").Status.Interface.MTUBytes), c.World()
	forget := func() { world.MustRun(t, "sh", "-c", "ip route flush cache; ip -6 route flush cache") }
	forget()
	t.Cleanup(forget)
	for _, addr := range c.Other(one).Addrs {
		headers := 28
		if strings.Contains(addr, ":") {
			headers = 48
		}
		const order = len("echo ")
		digits := 1500 - headers - order
		succeeds(t, world, "a large datagram to be answered", fmt.Sprintf("[ $(printf 'echo %%0%dd' 0 | nc -u -w 1 %s %d | wc -c) = %d ]",
			digits, addr, svc.Spec.Ports[1].NodePort, digits))
		succeeds(t, world, "the world to know the path's MTU", fmt.Sprintf("ip route get %s | grep -q 'mtu %d'", addr, mtu))
	}
	c.NoLeaks(t)
}

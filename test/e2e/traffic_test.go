// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

const (
	// farewell is how long a server that terminates properly goes on: longer than it takes every node to hear of its end.
	farewell = 5 * time.Second
	// heldEach is how many connections are kept to each place of a Service.
	heldEach = 10
)

// echoing is a server behind a Service, which terminates properly.
func echoing(name, app string, node *framework.Node) framework.Pod {
	return framework.Pod{
		Name: name, Node: node, Labels: map[string]string{"app": app}, Grace: 3 * farewell,
		Probe: []string{"serve", framework.EchoPort, farewell.String()},
	}
}

// echoService makes a Service of such servers.
func echoService(t *testing.T, c *framework.Cluster, name string, change func(*corev1.ServiceSpec)) *corev1.Service {
	t.Helper()
	return createService(t, c, name, name, func(s *corev1.ServiceSpec) {
		s.Ports = []corev1.ServicePort{{Name: "echo", Port: 80, TargetPort: intstr.Parse(framework.EchoPort)}}
		if change != nil {
			change(s)
		}
	})
}

func asNodePort(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }

// inside are where pods find the first port of a Service, outside where the world does.
func inside(svc *corev1.Service) (targets []string) {
	for _, ip := range svc.Spec.ClusterIPs {
		targets = append(targets, net.JoinHostPort(ip, strconv.Itoa(int(svc.Spec.Ports[0].Port))))
	}
	return targets
}

func outside(c *framework.Cluster, svc *corev1.Service) (targets []string) {
	for _, node := range c.Nodes {
		for _, addr := range node.Addrs {
			targets = append(targets, net.JoinHostPort(addr, strconv.Itoa(int(svc.Spec.Ports[0].NodePort))))
		}
	}
	return targets
}

// TestServicesOutliveTheAgents: under connections of the world to node ports and of a pod to ClusterIPs, the agents of all
// nodes are killed, and killed again when they are back. No connection is lost, and every new one is answered.
func TestServicesOutliveTheAgents(t *testing.T) {
	c := framework.Open(t)
	one, two := c.Nodes[0], c.Nodes[1]
	c.StartPods(t, echoing("outlive-1", "outlive", one), echoing("outlive-2", "outlive", two))
	svc := echoService(t, c, "outlive", asNodePort)
	asks := []*framework.Ask{
		c.StartAsk(t, "outlive-ask-world", c.World(), outside(c, svc)...),
		c.StartAsk(t, "outlive-ask-pod", one, inside(svc)...),
	}
	holds := []*framework.Hold{
		c.StartHold(t, "outlive-hold-world", c.World(), heldEach, outside(c, svc)...),
		c.StartHold(t, "outlive-hold-pod", one, heldEach, inside(svc)...),
	}
	for range 3 {
		for _, node := range c.Nodes {
			node.Kill(t, framework.Agent)
		}
		time.Sleep(3 * time.Second) // with nobody there, or while somebody starts
	}
	c.Settle(t)
	for _, hold := range holds {
		hold.AllHeld(t)
	}
	for _, ask := range asks {
		ask.NoneFailed(t)
	}
	c.NoLeaks(t)
}

// TestGracefulEndLosesNothing: of three servers two terminate, one after the other, under new connections of the world and
// of a pod. Each goes on for a while, and all who come are answered.
func TestGracefulEndLosesNothing(t *testing.T) {
	c := framework.Open(t)
	one, two := c.Nodes[0], c.Nodes[1]
	servers := c.StartPods(t, echoing("graceful-1", "graceful", one), echoing("graceful-2", "graceful", two), echoing("graceful-3", "graceful", one))
	svc := echoService(t, c, "graceful", asNodePort)
	asks := []*framework.Ask{
		c.StartAsk(t, "graceful-ask-world", c.World(), outside(c, svc)...),
		c.StartAsk(t, "graceful-ask-pod", two, inside(svc)...),
	}
	for _, server := range servers[:2] {
		start := time.Now()
		c.DeletePod(t, server)
		t.Logf("%s ended after %s", server.Name, time.Since(start).Round(100*time.Millisecond))
	}
	time.Sleep(time.Second) // with the last one alone
	for _, ask := range asks {
		ask.NoneFailed(t)
	}
	c.NoLeaks(t)
}

// TestServiceChangesUnderTraffic: a Service gets another port, node ports, others, an address outside, and loses all of them
// again. What does not change goes on without a loss, what is new is there, and what is gone refuses.
func TestServiceChangesUnderTraffic(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	createPool(t, c)
	c.StartPods(t, echoing("changes-server", "changes", c.Other(one)))
	svc := echoService(t, c, "changes", func(s *corev1.ServiceSpec) {
		moving := s.Ports[0]
		moving.Name, moving.Port = "moving", 81
		s.Ports = append(s.Ports, moving)
	})
	ask := c.StartAsk(t, "changes-ask", one, inside(svc)...)
	hold := c.StartHold(t, "changes-hold", one, heldEach, inside(svc)...)

	alter(t, c, svc, func(s *corev1.ServiceSpec) { s.Ports[1].Port = 82 })
	for _, ip := range svc.Spec.ClusterIPs {
		wantOpen(t, one, ip, 82)
		wantClosed(t, one, ip, 81)
	}

	alter(t, c, svc, asNodePort)
	first := svc.Spec.Ports[0].NodePort
	abroad := c.StartAsk(t, "changes-ask-world", c.World(), outside(c, svc)...)
	alter(t, c, svc, func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer })
	for _, addr := range given(t, c, svc) {
		wantOpen(t, c.World(), addr.String(), 80)
	}
	abroad.NoneFailed(t)

	alter(t, c, svc, func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = 0; s.Ports[1].NodePort = first })
	for _, addr := range c.Nodes[0].Addrs {
		wantOpen(t, c.World(), addr, svc.Spec.Ports[0].NodePort)
	}
	was := svc.DeepCopy()
	alter(t, c, svc, func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeClusterIP })
	for _, node := range c.Nodes {
		for _, addr := range node.Addrs {
			wantClosed(t, c.World(), addr, was.Spec.Ports[0].NodePort)
		}
	}
	hold.AllHeld(t)
	ask.NoneFailed(t)
	c.NoLeaks(t)
}

// alter updates a Service.
func alter(t *testing.T, c *framework.Cluster, svc *corev1.Service, change func(*corev1.ServiceSpec)) {
	t.Helper()
	if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(svc), svc); err != nil {
			return err
		}
		change(&svc.Spec)
		return c.Update(t.Context(), svc)
	}); err != nil {
		t.Fatalf("change Service %s: %v", svc.Name, err)
	}
}

// wantOpen waits until somebody accepts connections, wantClosed until they are refused, and not merely unanswered.
func wantOpen(t *testing.T, from *framework.Node, ip string, port int32) {
	t.Helper()
	framework.Eventually(t, 10*time.Second, fmt.Sprintf("%s to reach %s port %d", from.Name, ip, port), func(ctx context.Context) error {
		_, err := from.Run(ctx, "nc", "-z", "-w", "2", ip, fmt.Sprint(port))
		return err
	})
}

func wantClosed(t *testing.T, from *framework.Node, ip string, port int32) {
	t.Helper()
	framework.Eventually(t, 10*time.Second, fmt.Sprintf("%s to be refused by %s port %d", from.Name, ip, port), func(ctx context.Context) error {
		_, err := from.Run(ctx, "sh", "-c", exitsWith(7, ip, int(port)))
		return err
	})
}

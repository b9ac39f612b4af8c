// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// succeeds runs a script somewhere outside the cluster until it succeeds.
func succeeds(t *testing.T, outside *framework.Node, what, script string) {
	t.Helper()
	framework.Eventually(t, 30*time.Second, what, func(ctx context.Context) error {
		out, err := outside.Run(ctx, "sh", "-c", "set -e; "+script)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// exitsWith is a line of a script that wants curl to end so: 7 is a refusal, 28 silence.
func exitsWith(code int, addr string, port int) string {
	return fmt.Sprintf("code=0; curl -s --max-time 2 %s/ >/dev/null || code=$?; [ $code = %d ]; ", url(addr, port), code)
}

// TestNodePortsAnswerTheWorld: at every address of every node, wherever the backend is, and at once where there is none.
func TestNodePortsAnswerTheWorld(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	published := netexec("world-hostport", c.Other(one))
	published.HostPort = 54081
	c.StartPods(t, server("world-server", "world-server", one), published)
	nodePort := func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }
	svc := createService(t, c, "world", "world-server", nodePort)
	nobody := createService(t, c, "world-nobody", "world-nobody", nodePort)
	var script strings.Builder
	for _, node := range c.Nodes {
		for _, addr := range node.Addrs {
			fmt.Fprintf(&script, "[ $(curl -sS --max-time 5 %s/hostname) = world-server ]; ", url(addr, int(svc.Spec.Ports[0].NodePort)))
			script.WriteString(exitsWith(7, addr, int(nobody.Spec.Ports[0].NodePort)))
		}
	}
	for _, addr := range c.Other(one).Addrs {
		fmt.Fprintf(&script, "[ $(curl -sS --max-time 5 %s/hostname) = world-hostport ]; ", url(addr, 54081))
	}
	succeeds(t, c.World(), "the world to reach node ports", script.String())
	c.NoLeaks(t)
}

// TestControlPlaneReachesPods: who has a route to a pod (an API server that calls webhooks) needs no Service, and is answered
// from the pod's own address.
func TestControlPlaneReachesPods(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	pod := c.StartPods(t, netexec("outside-server", one))[0]
	var script strings.Builder
	for _, ip := range pod.Status.PodIPs {
		via := one.Addrs[slices.IndexFunc(one.Addrs, func(addr string) bool {
			return strings.Contains(addr, ":") == strings.Contains(ip.IP, ":")
		})]
		fmt.Fprintf(&script, "ip route replace %s via %s; trap 'ip route del %s' EXIT; ", ip.IP, via, ip.IP)
		fmt.Fprintf(&script, "for i in 1 2 3; do [ $(curl -sS --max-time 5 %s/hostname) = outside-server ]; done; ", url(ip.IP, 8080))
		fmt.Fprintf(&script, "trap - EXIT; ip route del %s; ", ip.IP)
	}
	succeeds(t, c.ControlPlane(), "the control plane to reach a pod", script.String())
}

// TestTrafficPolicyLocal: a backend of the node that is asked sees the client itself, other nodes are silent, and say so
// to load balancers.
func TestTrafficPolicyLocal(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	c.StartPods(t, server("policy-server", "policy-server", one))
	svc := createService(t, c, "policy", "policy-server", func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	})
	port, health := int(svc.Spec.Ports[0].NodePort), int(svc.Spec.HealthCheckNodePort)
	var script strings.Builder
	status := "[ $(curl -sS --max-time 5 -o /dev/null -w '%%{http_code}' %s/healthz) = %d ]; "
	for _, addr := range one.Addrs {
		seen := strings.TrimSuffix(strings.TrimPrefix(url(worldOf(addr), 0), "http://"), ":0")
		fmt.Fprintf(&script, "curl -sS --max-time 5 %s/clientip | grep -qF '%s:'; ", url(addr, port), seen)
		fmt.Fprintf(&script, status, url(addr, health), 200)
	}
	for _, addr := range c.Other(one).Addrs {
		script.WriteString(exitsWith(28, addr, port))
		fmt.Fprintf(&script, status, url(addr, health), 503)
	}
	succeeds(t, c.World(), "the world to be known to the backend", script.String())
	c.NoLeaks(t)
}

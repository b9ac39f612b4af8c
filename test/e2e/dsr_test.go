// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// TestDirectServerReturn: a pod sees the world's own address whichever node was asked, and answers it under that node's.
func TestDirectServerReturn(t *testing.T) {
	c := framework.Open(t)
	one := c.Nodes[0]
	c.StartPods(t, server("direct-server", "direct-server", one))
	svc := createService(t, c, "direct", "direct-server", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort })
	const usual = `{"spec":{"routingMode":"tunnel","loadBalancer":{"mode":"snat"}}}`
	t.Cleanup(func() { patchConfig(t, c, usual) })
	restartWith(t, c, `{"spec":{"routingMode":"native","loadBalancer":{"mode":"dsr"}}}`)
	var script strings.Builder
	for _, node := range c.Nodes {
		for _, addr := range node.Addrs {
			seen := strings.TrimSuffix(strings.TrimPrefix(url(worldOf(addr), 0), "http://"), ":0")
			at := url(addr, int(svc.Spec.Ports[0].NodePort))
			fmt.Fprintf(&script, "for i in 1 2 3; do curl -sS --max-time 5 %s/clientip | grep -qF '%s:'; done; ", at, seen)
		}
	}
	succeeds(t, c.World(), "the world to be known to the backend, whoever was asked", script.String())
	restartWith(t, c, usual)
	c.NoLeaks(t)
}

// restartWith changes the configuration on a living cluster, and has it in force everywhere.
func restartWith(t *testing.T, c *framework.Cluster, patch string) {
	t.Helper()
	patchConfig(t, c, patch)
	waitApplied(t, c, metav1.ConditionFalse, v1alpha1.ReasonRestartRequired)
	c.RestartAgents(t)
	waitApplied(t, c, metav1.ConditionTrue, v1alpha1.ReasonAllNodesCurrent)
}

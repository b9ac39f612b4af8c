// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// TestHostPortsAnswer: at each of the node's addresses, from its own processes and from its pods, and at its loopback, which
// a pod's loopback is not; and nowhere once the pod is gone.
func TestHostPortsAnswer(t *testing.T) {
	const port = 54080
	c := framework.Open(t)
	one := c.Nodes[0]
	published := netexec("hostport-server", one)
	published.HostPort = port
	pods := c.StartPods(t, published, netexec("hostport-client", one))
	byAddress, byLoopback := "set -e; ", "set -e; "
	for _, addr := range one.Addrs {
		byAddress += fmt.Sprintf("[ $(curl -sS --max-time 5 %s/hostname) = hostport-server ]; ", url(addr, port))
	}
	byLoopback += fmt.Sprintf("[ $(curl -sS --max-time 5 %s/hostname) = hostport-server ]; ", url("127.0.0.1", port))
	framework.Eventually(t, 30*time.Second, "the node to reach the host port", func(ctx context.Context) error {
		_, err := one.Run(ctx, "sh", "-c", byAddress+byLoopback)
		return err
	})
	if out, err := c.Exec(t.Context(), pods[1].Name, "sh", "-c", byAddress); err != nil {
		t.Errorf("a pod of the node does not reach the host port: %v %s", err, out)
	}
	if out, err := c.Exec(t.Context(), pods[1].Name, "sh", "-c", byLoopback); err == nil {
		t.Errorf("a pod's own loopback answers: %s", out)
	}
	c.DeletePod(t, pods[0])
	framework.Eventually(t, 30*time.Second, "the host port to be gone", func(ctx context.Context) error {
		// curl says 7 for a refusal.
		_, err := one.Run(ctx, "sh", "-c", fmt.Sprintf("code=0; curl -s --max-time 5 %s || code=$?; [ $code = 7 ]", url("127.0.0.1", port)))
		return err
	})
	c.NoLeaks(t)
}

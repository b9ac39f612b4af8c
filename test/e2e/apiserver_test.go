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

// TestAPIServerStopped: for 60 s there is no API server. Traffic goes on, every DEL succeeds with its tombstone alone, a
// sandbox that dies is replaced once the API server is back, and nothing is forgotten.
func TestAPIServerStopped(t *testing.T) {
	c := framework.Open(t)
	watches := watchBoth(t, c)
	var sandboxes []*framework.Sandbox
	for i := range 6 {
		node := c.Nodes[i%len(c.Nodes)]
		pod := c.CreatePod(t, framework.Pod{Name: fmt.Sprintf("buried-%d", i), Node: node, Held: true})
		s := node.NewSandbox(t, pod)
		if added := s.Call(t, "ADD"); added.Err != nil {
			t.Fatal(added.Err)
		}
		sandboxes = append(sandboxes, s)
	}
	dying := c.StartPods(t, framework.Pod{Name: "dying", Node: c.Nodes[0], Image: framework.PauseImage})[0]
	first := c.Endpoint(t, dying.Name)

	t.Cleanup(func() { c.Daemon(t, "start", "kube-apiserver") })
	c.Daemon(t, "stop", "kube-apiserver")
	start := time.Now()
	c.Nodes[0].KillSandbox(t, first)
	for _, s := range sandboxes {
		deleted := s.Call(t, "DEL")
		if deleted.Err != nil {
			t.Errorf("DEL without an API server: %v", deleted.Err)
		}
		if limit := 5 * time.Second; deleted.Took > limit {
			t.Errorf("DEL took %s without an API server, want less than %s", deleted.Took, limit)
		}
		if err := s.Buried(t.Context()); err != nil {
			t.Errorf("no tombstone: %v", err)
		}
		s.RemoveNetns(t)
	}
	time.Sleep(60*time.Second - time.Since(start))
	c.Daemon(t, "start", "kube-apiserver")
	t.Logf("the API server was away for %s", time.Since(start).Round(time.Second))

	for _, s := range sandboxes {
		framework.Eventually(t, 45*time.Second, "the end of a buried endpoint", func(ctx context.Context) error { return c.Gone(ctx, s) })
	}
	framework.Eventually(t, 2*time.Minute, "a new sandbox of the pod whose sandbox died", func(ctx context.Context) error {
		return c.ReplacedBy(ctx, first)
	})
	nothingLost(t, watches)
	c.NoLeaks(t)
}

// TestDeletedEndpointIsHeld: kubectl delete ciliumendpoint of a live pod does not cut the pod off. It says so in an event,
// and ends when the pod goes.
func TestDeletedEndpointIsHeld(t *testing.T) {
	c := framework.Open(t)
	node := c.Nodes[0]
	server := c.StartPods(t, framework.ServerPod("held-server", c.Other(node)))[0]
	watch := c.StartWatch(t, "held-watch", node, server)
	start := time.Now()
	for _, name := range []string{"held-server", "held-watch"} {
		if err := c.Delete(t.Context(), c.Endpoint(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	framework.Eventually(t, 20*time.Second, "two events DeletionHeld", func(context.Context) error {
		if events := c.EventsSince(t, start, "DeletionHeld"); len(events) < 2 {
			return fmt.Errorf("there are %d", len(events))
		}
		return nil
	})
	time.Sleep(5 * time.Second)
	for _, name := range []string{"held-server", "held-watch"} {
		if c.Endpoint(t, name).DeletionTimestamp == nil {
			t.Errorf("%s is not being deleted: the test proves nothing", name)
		}
	}
	// An agent that starts again must not think otherwise.
	node.Kill(t, framework.Agent)
	c.Settle(t)
	watch.NothingLost(t)
	c.DeletePod(t, server)
	c.NoLeaksButHeld(t)
}

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

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// afterAPIServer is how long agents may take to see an API server that is back: at most ten seconds until their informers
// try again (controllers/internal/informer), and some until it has read its roles.
const afterAPIServer = 30 * time.Second

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

	t.Cleanup(func() { c.Revive(t, apiserver) })
	c.Daemon(t, "stop", apiserver)
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
	c.Daemon(t, "start", apiserver)
	t.Logf("the API server was away for %s", time.Since(start).Round(time.Second))

	back := time.Now()
	for _, s := range sandboxes {
		framework.Eventually(t, afterAPIServer, "the end of a buried endpoint", func(ctx context.Context) error { return c.Gone(ctx, s) })
	}
	t.Logf("the buried endpoints were gone %s after it was back", time.Since(back).Round(time.Second))
	framework.Eventually(t, time.Minute, "a new sandbox of the pod whose sandbox died", func(ctx context.Context) error {
		return c.ReplacedBy(ctx, first)
	})
	t.Logf("the pod whose sandbox died had another %s after it was back", time.Since(back).Round(time.Second))
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

// TestAPIServerKilledAtEveryStep is the API server's row of the failure matrix. One kill meets attachments at all steps:
// agents take some seconds to see the API server again, and that is better waited for once.
func TestAPIServerKilledAtEveryStep(t *testing.T) {
	c := framework.Open(t)
	one, two := c.Nodes[0], c.Nodes[1]
	at := map[string]*fault{}
	for name, node := range map[string]*framework.Node{
		"add-before": one, "add-made": two, "add-up": one, "add-written": one, "add-given": one,
		"del-before": one, "del-buried": two, "del-deleted": two, "del-undone": one, "del-over": one,
	} {
		pod := held(t, c, name, node)
		at[name] = &fault{c: c, Sandbox: node.NewSandbox(t, pod), victim: apiserver, verb: strings.ToUpper(name[:3])}
		if at[name].verb == "DEL" || name == "add-given" {
			mustCall(t, at[name].Sandbox, "ADD")
		}
	}
	mustCall(t, at["del-over"].Sandbox, "DEL")
	t.Cleanup(func() {
		c.Revive(t, apiserver)
		one.Resume(t, framework.Agent)
		two.Resume(t, framework.Agent)
	})
	calls := bringToSteps(t, c, at)
	c.Daemon(t, "kill", apiserver)
	c.Daemon(t, "start", apiserver)
	start := time.Now()
	for _, f := range at {
		f.goOn(t)
	}
	calls["del-before"] = at["del-before"].Begin(t, "DEL")
	for name, call := range calls {
		f := at[name]
		result := <-call
		t.Logf("%s ended after %s: %v", name, result.Took.Round(10*time.Millisecond), result.Err)
		if result.Err != nil && f.verb == "DEL" {
			t.Errorf("only ADD may fail: %v", result.Err)
		}
		if result.Err != nil && f.verb == "ADD" {
			f.retry(t, f.Pod)
		}
	}
	for name, f := range at {
		mustCall(t, f.Sandbox, "DEL")
		c.DeletePod(t, f.Pod)
		framework.Eventually(t, 90*time.Second, "the end of "+name, func(ctx context.Context) error { return c.Gone(ctx, f.Sandbox) })
	}
	t.Logf("all was as it should be %s after the API server was back", time.Since(start).Round(time.Second))
	elsewhere(t, c, "add-up", two)
	c.NoLeaks(t)
}

// bringToSteps stops every attachment where its name says, with the API server paused, and returns the plugins that run.
func bringToSteps(t *testing.T, c *framework.Cluster, at map[string]*fault) map[string]<-chan framework.Result {
	t.Helper()
	one, two := c.Nodes[0], c.Nodes[1]
	calls := map[string]<-chan framework.Result{}
	begin := func(name string) {
		t.Helper()
		calls[name] = at[name].Begin(t, at[name].verb)
		if at[name].verb == "ADD" {
			at[name].await(t, "the object", at[name].made)
		} else {
			at[name].await(t, "the tombstone", at[name].Buried)
		}
	}
	one.Pause(t, framework.Agent)
	two.Pause(t, framework.Agent)
	begin("add-written")
	one.Pause(t, framework.CNI, at["add-written"].Mark())
	one.Resume(t, framework.Agent)
	at["add-written"].await(t, "the status", at["add-written"].Ready)
	one.Pause(t, framework.Agent)
	for _, name := range []string{"add-made", "add-up", "del-buried", "del-deleted", "del-undone"} {
		begin(name)
	}
	at["del-deleted"].deleteObject(t)
	at["add-up"].freeze(t)
	one.Resume(t, framework.Agent)
	at["add-up"].await(t, "the device", at["add-up"].Attached)
	at["del-undone"].await(t, "the end of the device", at["del-undone"].Detached)
	calls["add-before"] = at["add-before"].Begin(t, "ADD")
	at["add-up"].frozen = false // it is killed as it is
	return calls
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// watchBoth starts an echo server on each of two nodes, and on each a watch over both servers: all that crosses the
// datapath on one node, and between them.
func watchBoth(t *testing.T, c *framework.Cluster) []*framework.Watch {
	t.Helper()
	one, two := c.Nodes[0], c.Nodes[1]
	servers := c.StartPods(t, framework.ServerPod("server-1", one), framework.ServerPod("server-2", two))
	return []*framework.Watch{c.StartWatch(t, "watch-1", one, servers...), c.StartWatch(t, "watch-2", two, servers...)}
}

func nothingLost(t *testing.T, watches []*framework.Watch) {
	t.Helper()
	for _, w := range watches {
		w.NothingLost(t)
	}
}

// TestKilledAgentLosesNothing: SIGKILL of the agents under streams and a flood of echo requests. Nodes stay Ready, and a
// pod that is started meanwhile comes up.
func TestKilledAgentLosesNothing(t *testing.T) {
	c := framework.Open(t)
	watches := watchBoth(t, c)
	stayReady := c.WatchNodes(t)
	for i, node := range c.Nodes {
		start := time.Now()
		node.Kill(t, framework.Agent)
		name := fmt.Sprintf("while-agent-%d-is-dead", i)
		c.CreatePod(t, framework.Pod{Name: name, Node: node, Image: framework.PauseImage})
		c.WaitRunning(t, name, time.Minute)
		t.Logf("%s: a pod created right after the kill ran after %s", node.Name, time.Since(start).Round(10*time.Millisecond))
		c.Settle(t)
	}
	nothingLost(t, watches)
	stayReady()
	c.NoLeaks(t)
}

// TestUpgradeLosesNoConnection: the DaemonSet rolls to agents with other programs and back again, under 1,000 TCP
// connections, streams, a flood, and pods that come and go. The maps are the same all the time. The token of the agents' old
// pods dies with them, and yet no ADD and no DEL fails.
func TestUpgradeLosesNoConnection(t *testing.T) {
	c := framework.Open(t)
	c.LoadVariant(t)
	product := c.AgentImage(t)
	t.Cleanup(func() { c.RollAgents(t, product) })
	watches := watchBoth(t, c)
	holds := holdThousand(t, c)
	stayReady := c.WatchNodes(t)
	stop := comeAndGo(t, c, 4)
	start := time.Now()
	for _, image := range []string{framework.VariantImage, product} {
		before := builds(t, c)
		rolled := time.Now()
		c.RollAgents(t, image)
		t.Logf("the roll to %s took %s", image, time.Since(rolled).Round(time.Second))
		wantReplaced(t, before)
	}
	t.Logf("%d pods came and went meanwhile", stop())
	for _, hold := range holds {
		hold.AllHeld(t)
	}
	nothingLost(t, watches)
	stayReady()
	wantNoEvents(t, c, start, "FailedCreatePodSandBox", "FailedKillPod")
	c.NoLeaks(t)
}

// holdThousand keeps 1,000 connections on one node and between two, in both families.
func holdThousand(t *testing.T, c *framework.Cluster) []*framework.Hold {
	t.Helper()
	one, two := c.Nodes[0], c.Nodes[1]
	servers := c.StartPods(t, framework.ServerPod("held-1", one), framework.ServerPod("held-2", two))
	each, echo := 1000/(2*len(servers)*len(servers[0].Status.PodIPs)), framework.EchoOf(servers...)
	return []*framework.Hold{c.StartHold(t, "hold-1", one, each, echo...), c.StartHold(t, "hold-2", two, each, echo...)}
}

func builds(t *testing.T, c *framework.Cluster) map[*framework.Node]framework.Build {
	t.Helper()
	all := map[*framework.Node]framework.Build{}
	for _, node := range c.Nodes {
		all[node] = node.Build(t)
	}
	return all
}

// wantReplaced wants other programs on every device, and the same maps.
func wantReplaced(t *testing.T, before map[*framework.Node]framework.Build) {
	t.Helper()
	for node, was := range before {
		framework.Eventually(t, 10*time.Second, "other programs on "+node.Name, func(context.Context) error {
			return node.Build(t).Differs(was)
		})
		if diff := cmp.Diff(was.Maps, node.Build(t).Maps); diff != "" {
			t.Errorf("maps of %s were replaced:\n%s", node.Name, diff)
		}
	}
}

// comeAndGo starts and deletes pods on all nodes, n at a time, until the function it returns is called; that tells how
// many there were.
func comeAndGo(t *testing.T, c *framework.Cluster, n int) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	counts := make([]int, n)
	var all sync.WaitGroup
	for worker := range n {
		all.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				node := c.Nodes[worker%len(c.Nodes)]
				name := fmt.Sprintf("passing-%d-%d", worker, counts[worker])
				if err := c.PassingPod(ctx, framework.Pod{Name: name, Node: node, Image: framework.PauseImage}); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				counts[worker]++
			}
		})
	}
	return func() int {
		cancel()
		all.Wait()
		sum := 0
		for _, count := range counts {
			sum += count
		}
		return sum
	}
}

func wantNoEvents(t *testing.T, c *framework.Cluster, since time.Time, reasons ...string) {
	t.Helper()
	for _, reason := range reasons {
		for _, event := range c.EventsSince(t, since, reason) {
			t.Errorf("%s of %s: %s", reason, event.InvolvedObject.Name, event.Message)
		}
	}
}

// TestKilledLeaderIsReplaced: pods with labels that nobody has seen yet need the operator. Another one takes over within
// the time of the lease (15 s, and 2 s to try), and gives no address twice.
func TestKilledLeaderIsReplaced(t *testing.T) {
	c := framework.Open(t)
	watches := watchBoth(t, c)
	before := c.Holder(t)
	c.Leader(t).Kill(t, framework.Operator)
	start := time.Now()
	var pods []framework.Pod
	for i, node := range c.Nodes {
		name := fmt.Sprintf("new-labels-%d", i)
		labels := map[string]string{"app": name, "run": fmt.Sprint(time.Now().UnixNano())}
		pods = append(pods, framework.Pod{Name: name, Node: node, Image: framework.PauseImage, Labels: labels})
	}
	c.StartPods(t, pods...)
	took := time.Since(start)
	t.Logf("pods with new labels ran %s after the leader's death", took.Round(100*time.Millisecond))
	if limit := 30 * time.Second; took > limit {
		t.Errorf("that is more than the lease and the pod's own time: %s", limit)
	}
	if after := c.Holder(t); after == before || after == "" {
		t.Errorf("the leader is %q, as before", after)
	}
	nothingLost(t, watches)
	c.NoLeaks(t)
}

// TestFirstAddAfterRestart: with 50 endpoints on the node, the killed agent serves the next ADD soon after its start. The
// aim is 1.5 s; the limit here leaves room for a busy machine.
func TestFirstAddAfterRestart(t *testing.T) {
	c := framework.Open(t)
	node := c.Nodes[0]
	const endpoints = 50
	var pods []framework.Pod
	for i := range endpoints {
		pods = append(pods, framework.Pod{Name: fmt.Sprintf("crowd-%d", i), Node: node, Image: framework.PauseImage,
			Labels: map[string]string{"app": "crowd"}})
	}
	start := time.Now()
	created := c.StartPods(t, pods...)
	t.Logf("%d pods ran after %s", endpoints, time.Since(start).Round(time.Second))
	held := c.CreatePod(t, framework.Pod{Name: "first", Node: node, Held: true, Labels: map[string]string{"app": "crowd"}})
	s := node.NewSandbox(t, held)
	for range 3 {
		node.Kill(t, framework.Agent)
		added := s.Call(t, "ADD")
		if added.Err != nil {
			t.Fatal(added.Err)
		}
		started, err := node.Started(framework.Agent)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(started)
		t.Logf("first ADD served %s after the agent's exec (the plugin itself took %s)", took.Round(10*time.Millisecond), added.Took.Round(10*time.Millisecond))
		if limit := 5 * time.Second; took > limit {
			t.Errorf("that is more than %s", limit)
		}
		if deleted := s.Call(t, "DEL"); deleted.Err != nil {
			t.Fatal(deleted.Err)
		}
		c.Settle(t)
	}
	deleteAll(t, c, created)
	c.NoLeaks(t)
}

// deleteAll deletes pods at once and waits for all.
func deleteAll(t *testing.T, c *framework.Cluster, pods []*corev1.Pod) {
	t.Helper()
	for _, pod := range pods {
		if err := c.Delete(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range pods {
		c.WaitGone(t, pod, 2*time.Minute)
	}
}

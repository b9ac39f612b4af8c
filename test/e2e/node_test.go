// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// The rows of the failure matrix in which the runtime itself dies, or the whole node: with pods of the kubelet's own.

// waiting brings three pods to three points on a node whose agent is paused: one runs, one waits for its address, and one
// was told to end.
func waiting(t *testing.T, c *framework.Cluster, node *framework.Node) (runs, starts, ends *corev1.Pod) {
	t.Helper()
	pods := c.StartPods(t, pause("row-runs", node), pause("row-ends", node))
	node.Pause(t, framework.Agent)
	t.Cleanup(func() { node.Resume(t, framework.Agent) })
	starts = c.CreatePod(t, pause("row-starts", node))
	c.WaitEndpoint(t, starts)
	buried := c.Endpoint(t, pods[1].Name)
	if err := c.Delete(t.Context(), pods[1]); err != nil {
		t.Fatal(err)
	}
	node.WaitBuried(t, buried)
	return pods[0], starts, pods[1]
}

func pause(name string, node *framework.Node) framework.Pod {
	return framework.Pod{Name: name, Node: node, Image: framework.PauseImage, Labels: map[string]string{"app": "row"}}
}

// TestRuntimeKilled: SIGKILL of containerd while a plugin waits for an address and another pod ends. What runs is not
// touched.
func TestRuntimeKilled(t *testing.T) {
	c := framework.Open(t)
	node := c.Nodes[0]
	watches := watchBoth(t, c)
	runs, starts, ends := waiting(t, c, node)
	before := c.Endpoint(t, runs.Name)
	t.Cleanup(func() { node.Daemon(t, "start", "containerd") })
	node.Daemon(t, "kill", "containerd")
	node.Resume(t, framework.Agent)
	node.Daemon(t, "start", "containerd")
	start := time.Now()
	c.WaitRunning(t, starts.Name, 2*time.Minute)
	c.WaitGone(t, ends, 2*time.Minute)
	t.Logf("what had waited was done %s after containerd was back", time.Since(start).Round(100*time.Millisecond))
	if after := c.Endpoint(t, runs.Name); after.UID != before.UID {
		t.Errorf("the endpoint of a pod that ran all the time was replaced")
	}
	nothingLost(t, watches)
	c.NoLeaks(t)
}

// TestNodeReboots: the plug of a node is pulled with pods at all points of their life, and put back. Each pod that was not
// told to end gets a new sandbox; nothing of the old ones is left.
func TestNodeReboots(t *testing.T) {
	c := framework.Open(t)
	node := c.Nodes[0]
	runs, starts, ends := waiting(t, c, node)
	before := c.Endpoint(t, runs.Name)
	t.Cleanup(func() { node.Start(t) })
	node.Stop(t)
	start := time.Now()
	node.Start(t)
	for _, pod := range []*corev1.Pod{runs, starts} {
		framework.Eventually(t, 3*time.Minute, pod.Name+" to run again", c.RunsReady(pod))
	}
	c.WaitGone(t, ends, 2*time.Minute)
	t.Logf("all pods ran again %s after the node's boot began", time.Since(start).Round(100*time.Millisecond))
	if after := c.Endpoint(t, runs.Name); after.Spec.ContainerID == before.Spec.ContainerID {
		t.Error("the endpoint is still that of the sandbox before the boot")
	}
	c.NoLeaks(t)
}

// TestNodeDies: a node's plug is pulled for good and its pod deleted by force, as an administrator does. The pod of a
// StatefulSet, whose name is taken, starts elsewhere in 15 s; in 35 s when the operator's leader died with the node.
func TestNodeDies(t *testing.T) {
	cases := map[string]struct {
		withLeader bool
		limit      time.Duration
	}{
		"a node of the other operator": {false, 15 * time.Second},
		"the node of the leader":       {true, 35 * time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := framework.Open(t)
			doomed := c.Leader(t)
			if !tc.withLeader {
				doomed = c.Other(doomed)
			}
			took := dieAndReplace(t, c, doomed)
			t.Logf("the pod ran elsewhere after %s", took.Round(100*time.Millisecond))
			if took > tc.limit {
				t.Errorf("that is more than %s", tc.limit)
			}
			c.NoLeaks(t)
		})
	}
}

// dieAndReplace puts a StatefulSet's pod on the node, ends the node, and returns how long the pod took to run elsewhere.
func dieAndReplace(t *testing.T, c *framework.Cluster, doomed *framework.Node) time.Duration {
	t.Helper()
	other := c.Other(doomed)
	other.Cordon(t)
	pod := c.StartStatefulSet(t, "phoenix")
	if pod.Spec.NodeName != doomed.Name {
		t.Fatalf("the pod is on %s", pod.Spec.NodeName)
	}
	other.Uncordon(t)
	doomed.Cordon(t) // else the scheduler, which does not know yet, might choose it again
	t.Cleanup(func() { doomed.Start(t) })
	doomed.Stop(t)
	start := time.Now()
	c.ForceDelete(t, pod)
	again := c.WaitReplaced(t, pod, time.Minute)
	took := time.Since(start)
	if again.Spec.NodeName != other.Name {
		t.Errorf("the pod runs on %s", again.Spec.NodeName)
	}
	// The address must be of the living node, and answer there.
	framework.Eventually(t, 10*time.Second, "an answer of the pod", c.Answers(other, again))
	doomed.Start(t)
	doomed.Uncordon(t)
	c.Settle(t)
	if now := c.Endpoint(t, pod.Name); now.Spec.NodeName != other.Name {
		t.Error(fmt.Errorf("the node that came back took the endpoint to %s", now.Spec.NodeName))
	}
	return took
}

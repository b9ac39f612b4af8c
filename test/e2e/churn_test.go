// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

const (
	churnPods  = 300
	churnBatch = 50
)

// TestChurnUnderKills: 300 pods come and go while agents, operators and runtimes are killed at random. At the end every
// pod has run and is gone, and so is every address, device, map entry, tombstone and object of theirs.
func TestChurnUnderKills(t *testing.T) {
	c := framework.Open(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	t.Cleanup(func() {
		for _, node := range c.Nodes {
			node.Daemon(t, "start", "containerd")
		}
	})
	start, kills := time.Now(), 0
	for first := 0; first < churnPods; first += churnBatch {
		var pods []*corev1.Pod
		for i := range churnBatch {
			labels := map[string]string{"app": "churn", "colour": fmt.Sprint(random.IntN(8))}
			pod := framework.Pod{Name: fmt.Sprintf("churn-%d", first+i), Node: c.Nodes[random.IntN(len(c.Nodes))], Image: framework.PauseImage, Labels: labels}
			pods = append(pods, c.CreatePod(t, pod))
		}
		kills += killUntil(t, c, random, "batch of pods to run", runningOrMore(c, pods))
		for _, pod := range pods {
			if err := c.Delete(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
		}
		kills += killUntil(t, c, random, "batch of pods to go", c.AllGone(pods))
		t.Logf("%d pods came and went under %d kills in %s", first+churnBatch, kills, time.Since(start).Round(time.Second))
	}
	c.NoLeaks(t)
	c.NothingRemembered(t)
}

func runningOrMore(c *framework.Cluster, pods []*corev1.Pod) func(context.Context) error {
	return func(ctx context.Context) error { return c.AllRun(ctx, pods) }
}

// killUntil kills something every few seconds until it happened, and returns how often.
func killUntil(t *testing.T, c *framework.Cluster, random *rand.Rand, what string, happened func(context.Context) error) int {
	t.Helper()
	kills, next := 0, time.Now().Add(time.Second)
	framework.Eventually(t, 3*time.Minute, what, func(ctx context.Context) error {
		// Late in a batch nothing more is killed: the last pods must have a chance.
		if time.Now().After(next) && kills < 4 {
			killOne(t, c, random)
			kills++
			next = time.Now().Add(time.Duration(2+random.IntN(4)) * time.Second)
		}
		return happened(ctx)
	})
	return kills
}

func killOne(t *testing.T, c *framework.Cluster, random *rand.Rand) {
	t.Helper()
	node := c.Nodes[random.IntN(len(c.Nodes))]
	switch random.IntN(5) {
	case 0, 1:
		node.TryKill(t, framework.Agent)
	case 2:
		node.TryKill(t, framework.Operator)
	case 3:
		node.TryKill(t, framework.CNI)
	case 4:
		node.Daemon(t, "kill", "containerd")
		node.Daemon(t, "start", "containerd")
	}
}

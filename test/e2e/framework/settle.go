// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NotReadyTaint is on a node until its agent serves.
const NotReadyTaint = "node.cilium.io/agent-not-ready"

// settleTime is how long a cluster may take to be healthy after the worst that a test does: a node's boot.
const settleTime = 3 * time.Minute

// Settle waits until everything of the cluster is healthy.
func (c *Cluster) Settle(t *testing.T) {
	t.Helper()
	Eventually(t, settleTime, "a healthy cluster", func(ctx context.Context) error {
		_, leaderErr := c.leaseHolder(ctx)
		return errors.Join(c.agentsServe(ctx), c.operatorsRun(ctx), c.nodesReady(ctx), leaderErr)
	})
}

func (c *Cluster) agentsServe(ctx context.Context) error {
	var ds appsv1.DaemonSet
	if err := c.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "cilium"}, &ds); err != nil {
		return err
	}
	s := ds.Status
	if s.ObservedGeneration < ds.Generation || s.UpdatedNumberScheduled < s.DesiredNumberScheduled ||
		s.NumberReady < s.DesiredNumberScheduled || s.DesiredNumberScheduled < int32(len(c.Nodes)) {
		return fmt.Errorf("of %d agents %d are ready and %d current", s.DesiredNumberScheduled, s.NumberReady, s.UpdatedNumberScheduled)
	}
	return nil
}

func (c *Cluster) operatorsRun(ctx context.Context) error {
	var deployment appsv1.Deployment
	if err := c.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: Operator}, &deployment); err != nil {
		return err
	}
	if s := deployment.Status; s.ReadyReplicas < 2 || s.UpdatedReplicas < 2 || s.ObservedGeneration < deployment.Generation {
		return fmt.Errorf("%d operators are ready, %d current", s.ReadyReplicas, s.UpdatedReplicas)
	}
	return nil
}

func (c *Cluster) nodesReady(ctx context.Context) error {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return err
	}
	for _, node := range nodes.Items {
		if err := nodeReady(&node); err != nil {
			return err
		}
	}
	return nil
}

func nodeReady(node *corev1.Node) error {
	for _, taint := range node.Spec.Taints {
		return fmt.Errorf("node %s has the taint %s", node.Name, taint.Key)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not Ready", node.Name)
}

// WatchNodes notes every moment at which a node is not Ready, until the function it returns is called; that one ends the
// test if there was any.
func (c *Cluster) WatchNodes(t *testing.T) (check func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	faults := make(chan error, 1)
	go func() {
		defer close(faults)
		for ctx.Err() == nil {
			if err := c.readyOrAway(ctx); err != nil {
				faults <- err
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(250 * time.Millisecond):
			}
		}
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-faults; err != nil {
			t.Errorf("a node did not stay Ready: %v", err)
		}
	}
}

// readyOrAway ignores that the API server does not answer: then nobody can say.
func (c *Cluster) readyOrAway(ctx context.Context) error {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return nil //nolint:nilerr // no answer is no fault of a node
	}
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return fmt.Errorf("%s: %s: %s", node.Name, condition.Reason, condition.Message)
			}
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/e2e/framework"
)

// TestAgentWritesItsOwnNodeAlone: the real credential that lies on one node can write nothing of another. (The whole table
// of writes is in test/integration/admission.)
func TestAgentWritesItsOwnNodeAlone(t *testing.T) {
	c := framework.Open(t)
	own, other := c.Nodes[0], c.Nodes[1]
	c.StartPods(t, framework.Pod{Name: "fenced", Node: other, Image: framework.PauseImage})
	theirs := c.Endpoint(t, "fenced")
	agent := own.AsAgent(t)
	status := []byte(`{"status":{"endpoints":7}}`)
	merge := client.RawPatch("application/merge-patch+json", status)
	cases := map[string]struct {
		deed      func(context.Context) error
		forbidden bool
	}{
		"a try of its own node's status": {func(ctx context.Context) error {
			return agent.Status().Patch(ctx, ciliumNode(own), merge, client.DryRunAll)
		}, false},
		"another node's status": {func(ctx context.Context) error {
			return agent.Status().Patch(ctx, ciliumNode(other), merge, client.DryRunAll)
		}, true},
		"its own node's spec": {func(ctx context.Context) error {
			return agent.Patch(ctx, ciliumNode(own), client.RawPatch("application/merge-patch+json", []byte(`{"spec":{}}`)))
		}, true},
		"an endpoint of another node": {func(ctx context.Context) error {
			return agent.Create(ctx, endpointOn(other, "fenced-new"), client.DryRunAll)
		}, true},
		"a try of an endpoint of its own": {func(ctx context.Context) error {
			return agent.Create(ctx, endpointOn(own, "fenced-new"), client.DryRunAll)
		}, false},
		"the status of another node's endpoint": {func(ctx context.Context) error {
			changed := theirs.DeepCopy()
			changed.Status.EndpointID++
			return agent.Status().Update(ctx, changed)
		}, true},
		"the deletion of another node's endpoint": {func(ctx context.Context) error {
			return agent.Delete(ctx, theirs.DeepCopy())
		}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := tc.deed(ctx)
			if denied := apierrors.IsForbidden(err) || apierrors.IsInvalid(err); denied != tc.forbidden || (!denied && err != nil) {
				t.Errorf("forbidden: %t, want %t: %v", denied, tc.forbidden, err)
			}
		})
	}
}

func ciliumNode(n *framework.Node) *v1alpha1.CiliumNode {
	return &v1alpha1.CiliumNode{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
}

func endpointOn(n *framework.Node, name string) *v1alpha1.CiliumEndpoint {
	return &v1alpha1.CiliumEndpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: framework.Namespace, Name: name},
		Spec: v1alpha1.CiliumEndpointSpec{
			NodeName: n.Name, PodUID: "none", ContainerID: "none", Netns: "/run/netns/none", IfName: "eth0",
		},
	}
}

// TestForgedEndpointIsIgnored: a node whose agent is not ours any more says that the address of a pod elsewhere is its
// own. The operator marks that endpoint, the other agents leave it out, and the pod keeps its packets.
func TestForgedEndpointIsIgnored(t *testing.T) {
	c := framework.Open(t)
	good, evil := c.Nodes[0], c.Nodes[1]
	victim := c.StartPods(t, framework.ServerPod("victim", good))[0]
	watch := c.StartWatch(t, "victim-watch", good, victim)
	identity := c.Endpoint(t, "victim").Status.Identity.Number

	evil.Pause(t, framework.Agent)
	t.Cleanup(func() { evil.Resume(t, framework.Agent) })
	forged := endpointOn(evil, "forged")
	agent := evil.AsAgent(t)
	if err := agent.Create(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeForged(t, c, forged) })
	forged.Status = v1alpha1.CiliumEndpointStatus{
		PodUID: "none", ContainerID: "none", Identity: &v1alpha1.EndpointIdentity{Number: identity},
		Addresses: []v1alpha1.EndpointAddress{{
			Family: v1alpha1.IPv4, IP: victim.Status.PodIP, Gateway: c.Endpoint(t, "victim").Status.Addresses[0].Gateway,
		}},
	}
	if err := agent.Status().Update(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	took := framework.Eventually(t, 20*time.Second, "the mark of the operator", func(ctx context.Context) error {
		var now v1alpha1.CiliumEndpoint
		if err := c.Get(ctx, client.ObjectKeyFromObject(forged), &now); err != nil {
			return err
		}
		mark := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionUntrusted)
		if mark == nil || mark.Status != metav1.ConditionTrue {
			return fmt.Errorf("it has no condition Untrusted: %+v", now.Status.Conditions)
		}
		t.Logf("Untrusted: %s: %s", mark.Reason, mark.Message)
		return nil
	})
	t.Logf("marked after %s", took.Round(time.Millisecond))
	c.Settle(t)
	watch.NothingLost(t)
}

func removeForged(t *testing.T, c *framework.Cluster, forged *v1alpha1.CiliumEndpoint) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := client.IgnoreNotFound(c.Delete(ctx, forged)); err != nil {
		t.Error(err)
	}
}

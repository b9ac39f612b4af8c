// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

const staticUID = "7d4b1c0f6e2a49d3b5c8a1f0e9d7c6b4" // As the kubelet makes them: a hash.

// heartbeat makes the Lease of a node, renewed that long ago.
func (c *cluster) heartbeat(node string, ago time.Duration) {
	c.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: corev1.NamespaceNodeLease}}
	c.check(client.IgnoreAlreadyExists(c.Create(c.t.Context(), ns)))
	renewed := metav1.NewMicroTime(c.clock.now().Add(-ago))
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: node}}
	c.check(client.IgnoreNotFound(c.Delete(c.t.Context(), lease.DeepCopy())))
	lease.Spec.RenewTime = &renewed
	c.check(c.Create(c.t.Context(), lease))
}

// agent makes the agent's pod of a node.
func (c *cluster) agent(node string, ready corev1.ConditionStatus, ago time.Duration) {
	c.t.Helper()
	c.pod(build.Pod(c.name("cilium-"+node)).OnNode(node).HostNetwork().Label("ciliate.dev/component", "agent").
		Ready(ready, c.clock.now().Add(-ago)))
}

func TestRelease(t *testing.T) {
	const long = 2 * time.Minute
	tests := map[string]struct {
		// arrange makes what surrounds an endpoint of pod "p" on node n1, and returns the endpoint's pod UID.
		arrange      func(c *cluster) string
		wantReleased bool
	}{
		"the pod lives": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Taint(corev1.TaintNodeOutOfService).Obj())
				return string(c.pod(build.Pod(c.name("p")).OnNode("n1")).UID)
			},
		},
		"the pod is gone, but the node is well": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Obj())
				c.heartbeat("n1", time.Second)
				c.agent("n1", corev1.ConditionTrue, long)
				return string(build.UID("gone"))
			},
		},
		"the pod of that name is on another node": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Obj())
				c.heartbeat("n1", time.Second)
				c.agent("n1", corev1.ConditionTrue, long)
				c.pod(build.Pod(c.name("p")).OnNode("n2"))
				return string(build.UID("gone"))
			},
			wantReleased: true,
		},
		"the pod of that name is new on the same node": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Obj())
				c.heartbeat("n1", time.Second)
				c.agent("n1", corev1.ConditionTrue, long)
				c.pod(build.Pod(c.name("p")).OnNode("n1"))
				return string(build.UID("gone"))
			},
		},
		"the node is gone": {
			arrange:      func(*cluster) string { return string(build.UID("gone")) },
			wantReleased: true,
		},
		"the node is out of service": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Taint(corev1.TaintNodeOutOfService).Obj())
				return string(build.UID("gone"))
			},
			wantReleased: true,
		},
		"the kubelet is silent": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Obj())
				c.heartbeat("n1", long)
				c.agent("n1", corev1.ConditionTrue, long)
				return string(build.UID("gone"))
			},
			wantReleased: true,
		},
		"the agent is not ready": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Obj())
				c.heartbeat("n1", time.Second)
				c.agent("n1", corev1.ConditionFalse, long)
				return string(build.UID("gone"))
			},
			wantReleased: true,
		},
		"the agent has only just become unready": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Obj())
				c.heartbeat("n1", time.Second)
				c.agent("n1", corev1.ConditionFalse, time.Second)
				return string(build.UID("gone"))
			},
		},
		"the mirror of a static pod is missing, and kubelet and agent are silent": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Obj())
				c.heartbeat("n1", long)
				c.agent("n1", corev1.ConditionFalse, long)
				return staticUID
			},
		},
		"the node of a static pod is gone": {
			arrange:      func(*cluster) string { return staticUID },
			wantReleased: true,
		},
		"the node of a static pod is out of service, its mirror still there": {
			arrange: func(c *cluster) string {
				c.make(build.Node("n1").Address("192.0.2.1").Taint(corev1.TaintNodeOutOfService).Obj())
				c.pod(build.Pod(c.name("p")).OnNode("n1").MirrorOf(staticUID))
				return staticUID
			},
			wantReleased: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			uid := tt.arrange(c)
			ep := build.Endpoint(c.name("p")).OnNode("n1").PodUID(uid).Obj()
			c.make(ep)
			c.operator()
			released := func() error { return c.gone(ep) }
			if tt.wantReleased {
				c.eventually("the endpoint is released", released)
				return
			}
			c.always("the endpoint stays", func() error { return c.get(ep) })
			if ep.DeletionTimestamp != nil {
				t.Error("the endpoint is being deleted")
			}
		})
	}
}

func TestEndpointOfANodeWithoutAnAgentIsReleasedInTheEnd(t *testing.T) {
	c := newCluster(t)
	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	ep := build.Endpoint(c.name("p")).OnNode("n1").Obj()
	c.make(ep)
	c.operator()
	c.always("it stays at first", func() error { return c.get(ep) })
	c.clock.advance(2 * time.Minute)
	c.within(30*time.Second, "it is released at the next look", func() error { return c.gone(ep) })
	c.eventually("an event tells it", func() error { return c.event("CiliumEndpoint", v1alpha1.EventReleased) })
	c.eventually("a metric counts it", func() error { return c.metric("ciliate_endpoints_released_total", 1) })
}

func TestDeletedEndpointOfADeadNodeIsReleased(t *testing.T) {
	c := newCluster(t)
	ep := build.Endpoint(c.name("p")).OnNode("n1").Obj()
	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	c.make(ep)
	c.heartbeat("n1", time.Second)
	c.agent("n1", corev1.ConditionTrue, 2*time.Minute)
	c.operator()
	c.remove(ep)
	c.always("its finalizer is the agent's while the node lives", func() error { return c.get(ep) })
	c.remove(build.Node("n1").Obj())
	c.eventually("it is released", func() error { return c.gone(ep) })
}

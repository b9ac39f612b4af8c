// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/test/build"
)

// poke changes a label of an endpoint, so that the operator looks at it again.
func (c *cluster) poke(ep *v1alpha1.CiliumEndpoint) {
	c.t.Helper()
	c.eventually("the endpoint is poked", func() error {
		if err := c.get(ep); err != nil {
			return err
		}
		ep.Labels = map[string]string{"poked": fmt.Sprint(c.clock.now().UnixNano())}
		return c.Update(c.t.Context(), ep)
	})
}

func (c *cluster) untrusted(ep *v1alpha1.CiliumEndpoint, reason string) {
	c.t.Helper()
	c.eventually("the endpoint is untrusted because of "+reason, func() error {
		if err := c.get(ep); err != nil {
			return err
		}
		return condition(ep.Status.Conditions, v1alpha1.ConditionUntrusted, metav1.ConditionTrue, reason)
	})
}

func (c *cluster) trusted(ep *v1alpha1.CiliumEndpoint) error {
	c.check(c.get(ep))
	if have := meta.FindStatusCondition(ep.Status.Conditions, v1alpha1.ConditionUntrusted); have != nil {
		return fmt.Errorf("it is untrusted: %s", have.Message)
	}
	return nil
}

// served makes pod p with app=a on node n1 and its endpoint, all in order, under a running operator.
func served(t *testing.T) (*cluster, *v1alpha1.CiliumEndpoint) {
	t.Helper()
	c := newCluster(t)
	c.make(build.Config(24, "10.77.0.0/16"))
	c.operator()
	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	c.pooled("n1", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
	pod := c.pod(build.Pod(c.name("p")).OnNode("n1").Label("app", "a"))
	ep := build.Endpoint(c.name("p")).OnNode("n1").PodUID(string(pod.UID)).
		Address(v1alpha1.IPv4, "10.77.0.7", "10.77.0.1").Identity(number(t, c.one("a"))).Obj()
	ep.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		LastTransitionTime: metav1.NewTime(c.clock.now().Truncate(time.Second)),
	}}
	c.make(ep)
	return c, ep
}

func TestHonestEndpointIsTrusted(t *testing.T) {
	c, ep := served(t)
	c.poke(ep)
	c.always("it is trusted", func() error { return c.trusted(ep) })
}

func TestEndpointWithAForeignAddressIsUntrusted(t *testing.T) {
	c, ep := served(t)
	c.check(c.get(ep))
	ep.Status.Addresses[0].IP = "10.77.9.7"
	c.check(c.Status().Update(t.Context(), ep))
	c.untrusted(ep, v1alpha1.ReasonAddressOutsidePool)
	c.check(condition(ep.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady))
	c.eventually("an event tells it", func() error { return c.event("CiliumEndpoint", v1alpha1.EventUntrusted) })

	ep.Status.Addresses[0].IP = "10.77.0.7"
	c.check(c.Status().Update(t.Context(), ep))
	c.eventually("it is trusted again", func() error { return c.trusted(ep) })
}

func TestEndpointOnAnotherNodeThanItsPodIsUntrusted(t *testing.T) {
	c, _ := served(t)
	c.make(build.Node("n2").Address("192.0.2.2").Obj())
	c.pooled("n2", metav1.ConditionTrue, v1alpha1.ReasonAssigned)
	pod := c.pod(build.Pod(c.name("q")).OnNode("n1").Label("app", "a"))
	ep := build.Endpoint(c.name("q")).OnNode("n2").PodUID(string(pod.UID)).Address(v1alpha1.IPv4, "10.77.1.7", "10.77.1.1").Obj()
	c.make(ep)
	c.untrusted(ep, v1alpha1.ReasonPodNotOnNode)
}

func TestEndpointWithAnIdentityOfAnotherNamespaceIsUntrusted(t *testing.T) {
	c, ep := served(t)
	labels := c.labelsOf("a")
	labels[identity.KeyNamespace] = "kube-system"
	c.identity("4000", labels)
	c.check(c.get(ep))
	ep.Status.Identity.Number = 4000
	c.check(c.Status().Update(t.Context(), ep))
	c.untrusted(ep, v1alpha1.ReasonIdentityMismatch)
}

func TestRelabelledPodHasAWhile(t *testing.T) {
	c, ep := served(t)
	pod := build.Pod(c.name("p")).Obj()
	c.check(c.get(pod))
	pod.Labels["app"] = "b"
	c.check(c.Update(t.Context(), pod))
	next := c.one("b")
	c.poke(ep)
	c.always("the old identity is forgiven at first", func() error { return c.trusted(ep) })
	c.clock.advance(2 * time.Minute)
	c.poke(ep)
	c.untrusted(ep, v1alpha1.ReasonIdentityMismatch)

	ep.Status.Identity.Number = number(t, next)
	c.check(c.Status().Update(t.Context(), ep))
	c.eventually("it is trusted with the new one", func() error { return c.trusted(ep) })
}

func TestEndpointOfNoPodIsUntrustedAfterAWhile(t *testing.T) {
	c, _ := served(t)
	c.agent("n1", "True", 2*time.Minute)
	c.heartbeat("n1", -time.Hour)
	ep := build.Endpoint(c.name("ghost")).OnNode("n1").Address(v1alpha1.IPv4, "10.77.0.66", "10.77.0.1").Obj()
	c.make(ep)
	c.always("an agent has time to tidy up", func() error { return c.trusted(ep) })
	c.clock.advance(2 * time.Minute)
	c.poke(ep)
	c.untrusted(ep, v1alpha1.ReasonPodNotOnNode)
	if ep.DeletionTimestamp != nil {
		t.Error(errors.New("the endpoint is being deleted, though its agent lives"))
	}
}

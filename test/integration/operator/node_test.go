// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/node"
	"github.com/ciliate-io/ciliate/test/build"
)

// condition checks a condition of a list.
func condition(list []metav1.Condition, kind string, status metav1.ConditionStatus, reason string) error {
	c := meta.FindStatusCondition(list, kind)
	if c == nil || c.Status != status || c.Reason != reason {
		return fmt.Errorf("condition %s = %+v, want %s because of %s", kind, c, status, reason)
	}
	return nil
}

func TestEachNodeHasACiliumNode(t *testing.T) {
	c := newCluster(t)
	c.operator()
	n := build.Node("n1").Address("192.0.2.1", "2001:db8::1").Obj()
	c.make(n)

	cn := build.CiliumNode("n1")
	c.eventually("the CiliumNode follows the Node", func() error {
		if err := c.get(cn); err != nil {
			return err
		}
		want := []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "192.0.2.1"}, {Type: "InternalIP", IP: "2001:db8::1"}}
		if diff := cmp.Diff(want, cn.Spec.Addresses); diff != "" {
			return fmt.Errorf("addresses (-want +got):\n%s", diff)
		}
		if len(cn.OwnerReferences) != 1 || cn.OwnerReferences[0].UID != n.UID {
			return fmt.Errorf("owners are %v, want the Node", cn.OwnerReferences)
		}
		return nil
	})

	c.check(c.get(n))
	n.Status.Addresses = build.Node("n1").Address("192.0.2.9").Obj().Status.Addresses
	c.check(c.Status().Update(t.Context(), n))
	c.eventually("a new address is copied", func() error {
		if err := c.get(cn); err != nil {
			return err
		}
		if len(cn.Spec.Addresses) != 1 || cn.Spec.Addresses[0].IP != "192.0.2.9" {
			return fmt.Errorf("addresses are %v", cn.Spec.Addresses)
		}
		if len(cn.Spec.IPAM.PodCIDRs) != 1 {
			return fmt.Errorf("ranges are %v: the other writer's field must stay", cn.Spec.IPAM.PodCIDRs)
		}
		return nil
	})

	c.remove(n)
	again := build.Node("n1").Address("192.0.2.9").Obj()
	c.make(again)
	c.eventually("a Node registered anew takes over the CiliumNode", func() error {
		if err := c.get(cn); err != nil {
			return err
		}
		if len(cn.OwnerReferences) != 1 || cn.OwnerReferences[0].UID != again.UID {
			return fmt.Errorf("owners are %v, want %s", cn.OwnerReferences, again.UID)
		}
		return nil
	})
}

func TestTaintGoesWhenThisBootsAgentServes(t *testing.T) {
	c := newCluster(t)
	c.operator()
	n := build.Node("n1").Address("192.0.2.1").Boot("second").Taint(node.TaintNotReady).Taint("other").Obj()
	c.make(n)
	cn := build.CiliumNode("n1")
	c.eventually("the CiliumNode is there", func() error { return c.get(cn) })

	serve := func(boot string) {
		t.Helper()
		c.eventually("the agent writes its status", func() error {
			if err := c.get(cn); err != nil {
				return err
			}
			cn.Status.BootID = boot
			meta.SetStatusCondition(&cn.Status.Conditions, metav1.Condition{
				Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonServing,
			})
			return c.Status().Update(t.Context(), cn)
		})
	}
	tainted := func() bool {
		c.check(c.get(n))
		return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == node.TaintNotReady })
	}
	serve("first")
	c.always("an agent of the boot before counts for nothing", func() error {
		if !tainted() {
			return fmt.Errorf("the taint is gone")
		}
		return nil
	})
	serve("second")
	c.eventually("the taint goes", func() error {
		if tainted() {
			return fmt.Errorf("taints are %v", n.Spec.Taints)
		}
		return nil
	})
	if !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == "other" }) {
		t.Errorf("taints are %v: another's taint went with ours", n.Spec.Taints)
	}
	for _, have := range n.Status.Conditions {
		if have.Type == corev1.NodeNetworkUnavailable && have.Status == corev1.ConditionFalse {
			return
		}
	}
	t.Errorf("conditions are %v, want NetworkUnavailable=False", n.Status.Conditions)
}

func TestCiliumNodeOfNoNodeIsLeftAlone(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.make(build.Node("n1").Address("192.0.2.1").Obj())
	cn := build.CiliumNode("n1")
	c.eventually("the CiliumNode is there", func() error { return c.get(cn) })
	c.remove(build.Node("n1").Obj())
	c.remove(cn) // As the garbage collector does.
	c.always("nobody makes it again", func() error { return c.gone(build.CiliumNode("n1")) })
}

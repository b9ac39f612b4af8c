// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package node

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestServesThisBoot(t *testing.T) {
	serving := func(boot string, status metav1.ConditionStatus) *v1alpha1.CiliumNode {
		cn := build.CiliumNode("n1")
		cn.Status.BootID = boot
		cn.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status}}
		return cn
	}
	tests := map[string]struct {
		cn   *v1alpha1.CiliumNode
		want bool
	}{
		"ready since this boot":   {cn: serving("now", metav1.ConditionTrue), want: true},
		"ready before this boot":  {cn: serving("before", metav1.ConditionTrue)},
		"unready since this boot": {cn: serving("now", metav1.ConditionFalse)},
		"unknown":                 {cn: serving("now", metav1.ConditionUnknown)},
		"no status":               {cn: build.CiliumNode("n1")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := servesThisBoot(tt.cn, build.Node("n1").Boot("now").Obj()); got != tt.want {
				t.Errorf("servesThisBoot = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFollows(t *testing.T) {
	node := build.Node("n1").Address("192.0.2.1").Obj()
	follower := func(change func(*v1alpha1.CiliumNode)) *v1alpha1.CiliumNode {
		cn := build.CiliumNode("n1")
		cn.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: node.UID}}
		cn.Spec.Addresses = []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "192.0.2.1"}}
		change(cn)
		return cn
	}
	tests := map[string]struct {
		cn   *v1alpha1.CiliumNode
		want bool
	}{
		"it does":             {cn: follower(func(*v1alpha1.CiliumNode) {}), want: true},
		"of an earlier Node":  {cn: follower(func(cn *v1alpha1.CiliumNode) { cn.OwnerReferences[0].UID = "earlier" })},
		"of nobody":           {cn: follower(func(cn *v1alpha1.CiliumNode) { cn.OwnerReferences = nil })},
		"with an old address": {cn: follower(func(cn *v1alpha1.CiliumNode) { cn.Spec.Addresses[0].IP = "192.0.2.9" })},
		"with an old zone":    {cn: follower(func(cn *v1alpha1.CiliumNode) { cn.Spec.Zone = "elsewhere" })},
		"absent":              {cn: &v1alpha1.CiliumNode{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := follows(tt.cn, node); got != tt.want {
				t.Errorf("follows = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestStaleTaints: the cache is behind the API server, where another has added a taint; ours must not take it away.
func TestStaleTaints(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(build.Node("n1").Taint(TaintNotReady).Obj()).Build()
	stale := &corev1.Node{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "n1"}, stale); err != nil {
		t.Fatal(err)
	}
	now := stale.DeepCopy()
	now.Spec.Taints = append(now.Spec.Taints, corev1.Taint{Key: "other", Effect: corev1.TaintEffectNoExecute})
	if err := c.Update(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := New(c, time.Now).untaint(ctrl.LoggerInto(t.Context(), ctrl.Log), stale); err == nil {
		t.Error("no conflict")
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "n1"}, now); err != nil {
		t.Fatal(err)
	}
	if len(now.Spec.Taints) != 2 {
		t.Errorf("taints = %v, want both", now.Spec.Taints)
	}
}

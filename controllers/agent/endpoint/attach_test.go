// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

func TestStraightAdd(t *testing.T) {
	w := newWorld(t, straight()...)
	result := w.mustRun(podName)

	cep := w.get(podName)
	addrs := w.observed(hostIf).Addrs
	if len(addrs) != 2 {
		t.Fatalf("the kernel has addresses %v, want one of each family", addrs)
	}
	want := v1alpha1.CiliumEndpointStatus{
		ObservedGeneration: cep.Generation, PodUID: cep.Spec.PodUID, ContainerID: "c1", EndpointID: 1,
		Identity: &v1alpha1.EndpointIdentity{Number: 1001, Labels: []string{
			"k8s:app=web", "k8s:io.cilium.k8s.policy.cluster=default", "k8s:io.cilium.k8s.policy.serviceaccount=default",
			"k8s:io.kubernetes.pod.namespace=default",
		}},
		Addresses: []v1alpha1.EndpointAddress{
			{Family: v1alpha1.IPv4, IP: addrs[0].String(), Gateway: "10.0.0.1"},
			{Family: v1alpha1.IPv6, IP: addrs[1].String(), Gateway: "fd00::1"},
		},
		Interface: &v1alpha1.EndpointInterface{
			HostName: hostIf, HostIndex: 1, MAC: "02:00:00:01:00:01", HostMAC: "02:00:00:02:00:01", MTUBytes: 1450,
		},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionAddressAssigned, Status: "True", Reason: v1alpha1.ReasonAssigned},
			{Type: v1alpha1.ConditionIdentityAssigned, Status: "True", Reason: v1alpha1.ReasonAssigned},
			{Type: v1alpha1.ConditionPolicyEnforced, Status: "True", Reason: v1alpha1.ReasonNoPolicySelects},
			{Type: v1alpha1.ConditionDatapathProgrammed, Status: "True", Reason: v1alpha1.ReasonProgrammed},
			{Type: v1alpha1.ConditionReady, Status: "True", Reason: v1alpha1.ReasonReady},
		},
	}
	if diff := cmp.Diff(want, cep.Status, cmpopts.IgnoreFields(metav1.Condition{}, "Message", "LastTransitionTime", "ObservedGeneration")); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if !w.dp.Up(hostIf) {
		t.Error("the device is down")
	}
	if diff := cmp.Diff(map[string]int{"status": 1}, w.writes); diff != "" {
		t.Errorf("writes of an ADD (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ctrl.Result{RequeueAfter: resync}, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestNothingChangedNothingWritten(t *testing.T) {
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	before := w.get(podName)
	w.clock.Step(time.Hour)
	w.mustRun(podName)
	if diff := cmp.Diff(map[string]int{"status": 1}, w.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, w.get(podName)); diff != "" {
		t.Errorf("the object changed:\n%s", diff)
	}
}

func TestOrderOfTheKernel(t *testing.T) {
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	// EnsureNode is the world's; the entries and the device's going up come after the device.
	want := []string{"EnsureNode", "EnsureInterface", "EnsureEndpoint"}
	if diff := cmp.Diff(want, w.dp.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestWaitIsWrittenOnlyWhenItLasts(t *testing.T) {
	w := newWorld(t, webPod().Obj(), webEndpoint().Obj(), defaultNamespace())
	tests := []struct {
		after      time.Duration
		wantReady  string
		wantWrites int
		wantAgain  time.Duration
	}{
		{after: 0, wantAgain: publishAfter},
		{after: publishAfter - time.Millisecond, wantAgain: time.Millisecond},
		{after: time.Millisecond, wantReady: "False/WaitingForIdentity", wantWrites: 1, wantAgain: waitAgain},
		{after: waitAgain, wantReady: "False/WaitingForIdentity", wantWrites: 1, wantAgain: waitAgain},
	}
	for _, tt := range tests {
		w.clock.Step(tt.after)
		result := w.mustRun(podName)
		if got := w.ready(podName); got != tt.wantReady {
			t.Errorf("after %s more: Ready is %q, want %q", tt.after, got, tt.wantReady)
		}
		if w.writes["status"] != tt.wantWrites {
			t.Errorf("after %s more: %d writes, want %d", tt.after, w.writes["status"], tt.wantWrites)
		}
		if result.RequeueAfter != tt.wantAgain {
			t.Errorf("after %s more: again after %s, want %s", tt.after, result.RequeueAfter, tt.wantAgain)
		}
	}
}

func TestWaitEndsInOneWrite(t *testing.T) {
	w := newWorld(t, webPod().Obj(), webEndpoint().Obj(), defaultNamespace())
	w.mustRun(podName)
	w.create(identityOf("1001", "web"))
	w.mustRun(podName)
	if got := w.ready(podName); got != "True/Ready" {
		t.Errorf("Ready is %q", got)
	}
	if diff := cmp.Diff(map[string]int{"status": 1}, w.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

// The apiserver's clock is not this node's.
func TestPatienceIsMeasuredByOneClock(t *testing.T) {
	w := newWorld(t, webEndpoint().Created(time.Unix(1_600_000_000, 0)).Obj(), defaultNamespace())
	w.mustRun(podName)
	if got := w.ready(podName); got != "" {
		t.Errorf("Ready is %q at the first sight of the object, want nothing yet", got)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package operator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/endpoint"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/controllers/operator/node"
	services "github.com/ciliate-io/ciliate/internal/service/translate"
	"github.com/ciliate-io/ciliate/test/build"
)

// TestSlimPodHasWhatTheControllersRead: whoever reads another field of a pod must keep it in slimPod, and say so here.
func TestSlimPodHasWhatTheControllersRead(t *testing.T) {
	pod := build.Pod("ns/p").OnNode("n1").HostNetwork().Label("ciliate.dev/component", "agent").MirrorOf("static").
		Phase(corev1.PodRunning).Ready(corev1.ConditionFalse, time.Unix(100, 0)).Obj()
	pod.Annotations["large"] = "x"
	out, err := slimPod(pod.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	slim := out.(*corev1.Pod)
	if diff := cmp.Diff(translate.Pod(pod), translate.Pod(slim)); diff != "" {
		t.Errorf("what identities rest on (-full +slim):\n%s", diff)
	}
	if diff := cmp.Diff(endpoint.AgentNodeOf(pod), endpoint.AgentNodeOf(slim)); diff != "" {
		t.Errorf("the agent's node (-full +slim):\n%s", diff)
	}
	if translate.HasIdentity(pod) != translate.HasIdentity(slim) {
		t.Error("it lost whether it has an identity")
	}
	if diff := cmp.Diff(map[string]string{corev1.MirrorPodAnnotationKey: "static"}, slim.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(pod.Status, slim.Status); diff != "" {
		t.Errorf("status (-full +slim):\n%s", diff)
	}
	if slim.UID != pod.UID || slim.Spec.NodeName != "n1" || slim.Spec.Containers != nil {
		t.Errorf("slim pod = %+v", slim)
	}
}

func TestSlimServiceHasWhatTheControllersRead(t *testing.T) {
	full := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "web", UID: "u", Generation: 3, Labels: map[string]string{"app": "web"},
		Annotations: map[string]string{
			v1alpha1.LoadBalancerIPsAnnotation: "192.0.2.1", services.AlgorithmAnnotation: "maglev",
		},
	}}
	full.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: new(v1alpha1.L2AnnouncerClass), LoadBalancerIP: "192.0.2.2",
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: new(corev1.IPFamilyPolicySingleStack),
	}
	full.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	full.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionIPAMRequestSatisfied}}
	want := full.DeepCopy()
	full.Annotations["large"], full.Spec.Selector = "x", map[string]string{"app": "web"}
	out, err := slimService(full)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("slim Service (-want +got):\n%s", diff)
	}
}

func TestSlimNodeHasWhatTheControllersRead(t *testing.T) {
	full := build.Node("n1").Address("192.0.2.1", "2001:db8::1").Boot("b").Taint(node.TaintNotReady).
		PodCIDRs("10.0.0.0/24").Created(time.Unix(100, 0)).Obj()
	full.Status.Images = []corev1.ContainerImage{{Names: []string{"large"}}}
	full.Status.Conditions = []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
		{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse},
	}
	out, err := slimNode(full.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	want := full.DeepCopy()
	want.Status.Images = nil
	want.Status.Conditions = full.Status.Conditions[1:]
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("slim node (-want +got):\n%s", diff)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestSlimPod(t *testing.T) {
	full := build.Pod("default/web").OnNode("n1").Label("app", "web").MirrorOf("static").Phase(corev1.PodRunning).Obj()
	full.Annotations["big"], full.Status.PodIPs = "much", []corev1.PodIP{{IP: "10.0.0.7"}}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	published := corev1.ContainerPort{ContainerPort: 8080, HostPort: 80}
	full.Spec.Containers = []corev1.Container{{Image: "web", Ports: []corev1.ContainerPort{{ContainerPort: 9090}, published}}}
	got, err := slimPod(full.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "web", UID: full.UID, Labels: map[string]string{"app": "web"},
			Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "static"},
		},
		Spec: corev1.PodSpec{
			NodeName: "n1", ServiceAccountName: "default",
			Containers: []corev1.Container{{Ports: []corev1.ContainerPort{published}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.0.7"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
}

func TestSlimEndpoint(t *testing.T) {
	full := build.Endpoint("default/web").Identity(1001).Address(v1alpha1.IPv4, "10.0.0.7", "10.0.0.1").Obj()
	full.Status.Identity.Labels = []string{"k8s:app=web"}
	full.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady}, {Type: v1alpha1.ConditionUntrusted, Status: "True"}}
	got, err := slimEndpoint(full.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	want := &v1alpha1.CiliumEndpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: full.UID},
		Spec:       v1alpha1.CiliumEndpointSpec{NodeName: "n1"},
		Status: v1alpha1.CiliumEndpointStatus{
			Identity: &v1alpha1.EndpointIdentity{Number: 1001}, Addresses: full.Status.Addresses,
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionUntrusted, Status: "True"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endpoint (-want +got):\n%s", diff)
	}
}

// What a cache passes on after it missed a deletion is no object.
func TestSlimLeavesOthersAlone(t *testing.T) {
	missed := toolscache.DeletedFinalStateUnknown{Key: "default/web"}
	for name, slim := range map[string]toolscache.TransformFunc{"pod": slimPod, "endpoint": slimEndpoint} {
		if got, err := slim(missed); err != nil || got != any(missed) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

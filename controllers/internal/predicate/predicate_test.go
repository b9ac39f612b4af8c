// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package predicate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

func TestOnNode(t *testing.T) {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	tests := map[string]struct {
		obj  client.Object
		want bool
	}{
		"an endpoint of the node": {
			obj:  &v1alpha1.CiliumEndpoint{Spec: v1alpha1.CiliumEndpointSpec{NodeName: "n1"}},
			want: true,
		},
		"an endpoint of another node that is named as this one": {
			obj: &v1alpha1.CiliumEndpoint{ObjectMeta: named("n1"), Spec: v1alpha1.CiliumEndpointSpec{NodeName: "n2"}},
		},
		"a pod of the node":     {obj: &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n1"}}, want: true},
		"a pod without a node":  {obj: &corev1.Pod{ObjectMeta: named("n1")}},
		"the node's CiliumNode": {obj: &v1alpha1.CiliumNode{ObjectMeta: named("n1")}, want: true},
		"another CiliumNode":    {obj: &v1alpha1.CiliumNode{ObjectMeta: named("n2")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := OnNode("n1").Create(event.CreateEvent{Object: tt.obj}); got != tt.want {
				t.Errorf("OnNode passes = %v, want %v", got, tt.want)
			}
		})
	}
}

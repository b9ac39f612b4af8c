// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestWhichUpdatesWake(t *testing.T) {
	deleted := webEndpoint().Obj()
	now := metav1.Now()
	deleted.DeletionTimestamp = &now
	served := webEndpoint().Identity(1001).Obj()
	served.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	tests := map[string]struct {
		of       predicate.Predicate
		old, now client.Object
		want     bool
	}{
		"an endpoint's status, which is our own": {of: endpointChanged(), old: webEndpoint().Obj(), now: served},
		"an endpoint's deletion":                 {of: endpointChanged(), old: webEndpoint().Obj(), now: deleted, want: true},
		"another endpoint of the name":           {of: endpointChanged(), old: webEndpoint().Obj(), now: otherUID(), want: true},
		"a pod's status":                         {of: podChanged(), old: webPod().Obj(), now: webPod().Phase(corev1.PodRunning).Obj()},
		"a pod's labels":                         {of: podChanged(), old: webPod().Obj(), now: webPod().Label("tier", "back").Obj(), want: true},
		"another pod of the name":                {of: podChanged(), old: webPod().Obj(), now: webPod().UID("next").Obj(), want: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.of.Update(event.UpdateEvent{ObjectOld: tt.old, ObjectNew: tt.now}); got != tt.want {
				t.Errorf("wakes: %v, want %v", got, tt.want)
			}
		})
	}
}

func otherUID() *v1alpha1.CiliumEndpoint {
	cep := webEndpoint().Obj()
	cep.UID = "next"
	return cep
}

func TestNamespaceChangeIsSpread(t *testing.T) {
	var least, most time.Duration = namespaceSpread, 0
	for i := range 200 {
		at := spread(types.NamespacedName{Namespace: "default", Name: fmt.Sprintf("pod-%d", i)})
		least, most = min(least, at), max(most, at)
	}
	if least < 0 || least > namespaceSpread/10 || most > namespaceSpread || most < namespaceSpread*9/10 {
		t.Errorf("200 pods are spread from %s to %s, want over %s", least, most, namespaceSpread)
	}
}

func TestNamespaceChangeReachesItsEndpoints(t *testing.T) {
	tests := map[string]struct {
		old, now *corev1.Namespace
		want     int
	}{
		"its own":             {old: build.Namespace("default"), now: build.Namespace("default", "team", "a"), want: 1},
		"without a change":    {old: build.Namespace("default"), now: build.Namespace("default")},
		"another namespace's": {old: build.Namespace("kube"), now: build.Namespace("kube", "team", "a")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := attached(t)
			q := &queue{}
			w.namespaceChanges().Update(t.Context(), event.UpdateEvent{ObjectOld: tt.old, ObjectNew: tt.now}, q)
			if len(q.later) != tt.want {
				t.Errorf("wakes %v, want %d", q.later, tt.want)
			}
		})
	}
}

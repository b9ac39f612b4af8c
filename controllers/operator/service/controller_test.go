// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	clientfake "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/ciliate-io/ciliate/internal/service/translate"
)

// web is a Service that says something of its algorithm, or nothing.
func web(said ...string) *corev1.Service {
	svc := &corev1.Service{}
	svc.Namespace, svc.Name = "ns", "web"
	for _, s := range said {
		svc.Annotations = map[string]string{translate.AlgorithmAnnotation: s}
	}
	return svc
}

func TestEvents(t *testing.T) {
	tests := map[string]struct {
		svc  *corev1.Service
		want string
	}{
		"nothing is said":     {svc: web()},
		"maglev":              {svc: web("maglev")},
		"random":              {svc: web("random")},
		"what there is not":   {svc: web("roulette"), want: `Warning InvalidAnnotation annotation service.cilium.io/lb-algorithm is "roulette"`},
		"it is spelt so only": {svc: web("Maglev"), want: `Warning InvalidAnnotation annotation service.cilium.io/lb-algorithm is "Maglev"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := corev1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			news := events.NewFakeRecorder(1)
			r := New(clientfake.NewClientBuilder().WithScheme(scheme).WithObjects(tt.svc).Build(), news)
			if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(tt.svc)}); err != nil {
				t.Fatal(err)
			}
			got := ""
			select {
			case got = <-news.Events:
			default:
			}
			if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("event = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestSaidOnce: a Service that stays wrong is not told again with each change.
func TestSaidOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after *corev1.Service
		want          bool
	}{
		"it becomes wrong":        {web("maglev"), web("roulette"), true},
		"it is wrong differently": {web("dice"), web("roulette"), true},
		"it stays wrong":          {web("roulette"), web("roulette"), false},
		"it becomes right":        {web("roulette"), web(), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := wrong().Update(event.UpdateEvent{ObjectOld: tt.before, ObjectNew: tt.after}); got != tt.want {
				t.Errorf("passes: %t, want %t", got, tt.want)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

const static = "7d4b1c0f6e2a49d3b5c8a1f0e9d7c6b4"

func TestFacts(t *testing.T) {
	mirrored := build.Endpoint("ns/p").Obj()
	mirrored.Status.MirrorPodUID = "some"
	tests := map[string]struct {
		ep         *v1alpha1.CiliumEndpoint
		pod        *corev1.Pod
		wantPod    bool
		wantStatic bool
	}{
		"its own pod":                 {ep: build.Endpoint("ns/p").Obj(), pod: build.Pod("ns/p").Obj(), wantPod: true},
		"a later pod of the name":     {ep: build.Endpoint("ns/p").Obj(), pod: build.Pod("ns/p").UID("later").Obj()},
		"no pod":                      {ep: build.Endpoint("ns/p").Obj()},
		"a static pod and its mirror": {ep: build.Endpoint("ns/p").PodUID(static).Obj(), pod: build.Pod("ns/p").MirrorOf(static).Obj(), wantPod: true, wantStatic: true},
		"a static pod, its mirror missing": {
			ep: build.Endpoint("ns/p").PodUID(static).Obj(), wantStatic: true,
		},
		"a static pod by the agent's word": {ep: mirrored, wantStatic: true},
		"the mirror of another static pod": {
			ep: build.Endpoint("ns/p").PodUID(static).Obj(), pod: build.Pod("ns/p").MirrorOf("other").Obj(), wantStatic: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := facts{ep: tt.ep, pod: tt.pod}
			if got := f.hasPod(); got != tt.wantPod {
				t.Errorf("hasPod = %v, want %v", got, tt.wantPod)
			}
			if got := f.static(); got != tt.wantStatic {
				t.Errorf("static = %v, want %v", got, tt.wantStatic)
			}
		})
	}
}

func TestNodeEnded(t *testing.T) {
	created := time.Unix(1000, 0)
	tests := map[string]struct {
		node *corev1.Node
		want bool
	}{
		"well":             {node: build.Node("n1").Created(created.Add(-time.Hour)).Obj()},
		"of the same time": {node: build.Node("n1").Created(created).Obj()},
		"gone":             {want: true},
		"registered anew":  {node: build.Node("n1").Created(created.Add(time.Hour)).Obj(), want: true},
		"out of service": {
			node: build.Node("n1").Created(created.Add(-time.Hour)).Taint(corev1.TaintNodeOutOfService).Obj(), want: true,
		},
		"tainted otherwise": {node: build.Node("n1").Created(created.Add(-time.Hour)).Taint("other").Obj()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := facts{ep: build.Endpoint("ns/p").Created(created).Obj(), node: tt.node}
			if why := nodeEnded(f); (why != "") != tt.want {
				t.Errorf("nodeEnded = %q, want a reason: %v", why, tt.want)
			}
		})
	}
}

func TestUnreadySince(t *testing.T) {
	now, before := time.Unix(1000, 0), time.Unix(900, 0)
	tests := map[string]struct {
		pod  *corev1.Pod
		want time.Time
	}{
		"ready":       {pod: build.Pod("ns/a").Ready(corev1.ConditionTrue, before).Obj(), want: now},
		"not ready":   {pod: build.Pod("ns/a").Ready(corev1.ConditionFalse, before).Obj(), want: before},
		"unknown":     {pod: build.Pod("ns/a").Ready(corev1.ConditionUnknown, before).Obj(), want: before},
		"never ready": {pod: build.Pod("ns/a").Obj(), want: time.Time{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := unreadySince(tt.pod, now); !got.Equal(tt.want) {
				t.Errorf("unready since %v, want %v", got, tt.want)
			}
		})
	}
}

func TestOutsidePool(t *testing.T) {
	cn := build.CiliumNode("n1", "10.77.0.0/24", "fd00::/112")
	tests := map[string]struct {
		ep   *v1alpha1.CiliumEndpoint
		cn   *v1alpha1.CiliumNode
		want bool
	}{
		"inside":        {ep: build.Endpoint("ns/p").Address(v1alpha1.IPv4, "10.77.0.9", "10.77.0.1").Obj(), cn: cn},
		"outside":       {ep: build.Endpoint("ns/p").Address(v1alpha1.IPv4, "10.77.1.9", "10.77.0.1").Obj(), cn: cn, want: true},
		"no ranges":     {ep: build.Endpoint("ns/p").Address(v1alpha1.IPv4, "10.77.0.9", "10.77.0.1").Obj(), cn: build.CiliumNode("n1"), want: true},
		"no CiliumNode": {ep: build.Endpoint("ns/p").Address(v1alpha1.IPv4, "10.77.1.9", "10.77.0.1").Obj()},
		"one of two is outside": {
			ep: build.Endpoint("ns/p").Address(v1alpha1.IPv4, "10.77.0.9", "10.77.0.1").Address(v1alpha1.IPv6, "fd01::9", "fd00::1").Obj(),
			cn: cn, want: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if c := outsidePool(tt.ep, tt.cn); (c != nil) != tt.want {
				t.Errorf("charge = %+v, want one: %v", c, tt.want)
			}
		})
	}
}

func TestDoubts(t *testing.T) {
	d := doubts{}
	ep := build.Endpoint("ns/p").Obj()
	first, later := time.Unix(100, 0), time.Unix(200, 0)
	d.since(ep, "a", first)
	if got := d.since(ep, "a", later); !got.Equal(first) {
		t.Errorf("the same doubt is since %v, want %v", got, first)
	}
	if got := d.since(ep, "b", later); !got.Equal(later) {
		t.Errorf("another doubt is since %v, want %v", got, later)
	}
	next := ep.DeepCopy()
	next.UID = "next"
	if got := d.since(next, "b", time.Unix(300, 0)); !got.Equal(time.Unix(300, 0)) {
		t.Errorf("a doubt of the next endpoint of the name is since %v", got)
	}
}

func TestSooner(t *testing.T) {
	tests := map[string]struct{ a, b, want time.Duration }{
		"none":      {0, 0, 0},
		"one":       {0, 5, 5},
		"the other": {5, 0, 5},
		"both":      {5, 3, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := sooner(tt.a, tt.b); got != tt.want {
				t.Errorf("sooner = %d, want %d", got, tt.want)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestAddressesByFamily(t *testing.T) {
	tests := map[string]struct {
		routers []string
		want    []v1alpha1.AddressFamily
	}{
		"both":      {routers: []string{"10.0.0.1", "fd00::1"}, want: []v1alpha1.AddressFamily{v1alpha1.IPv4, v1alpha1.IPv6}},
		"IPv4 only": {routers: []string{"10.0.0.1"}, want: []v1alpha1.AddressFamily{v1alpha1.IPv4}},
		"IPv6 only": {routers: []string{"fd00::1"}, want: []v1alpha1.AddressFamily{v1alpha1.IPv6}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, straight()...)
			w.node.routers = nil
			for _, r := range tt.routers {
				w.node.routers = append(w.node.routers, netip.MustParseAddr(r))
			}
			w.mustRun(podName)
			var got []v1alpha1.AddressFamily
			for i, a := range w.get(podName).Status.Addresses {
				got = append(got, a.Family)
				if a.Gateway != tt.routers[i] {
					t.Errorf("the gateway of %s is %s, want %s", a.IP, a.Gateway, tt.routers[i])
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("families (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWaitingForPool(t *testing.T) {
	w := newWorld(t, straight()...)
	routers := w.node.routers
	w.node.routers = nil
	w.mustRun(podName)
	w.clock.Step(publishAfter)
	w.mustRun(podName)
	if got := condition(w.get(podName), v1alpha1.ConditionAddressAssigned); got != "False/WaitingForPool" {
		t.Errorf("AddressAssigned is %q", got)
	}
	w.node.routers = routers
	w.mustRun(podName)
	if got := w.ready(podName); got != "True/Ready" {
		t.Errorf("Ready is %q once the pool is there", got)
	}
}

func TestExhaustedPool(t *testing.T) {
	const otherName = "default/other"
	other := build.Endpoint(otherName).Obj()
	other.Spec.ContainerID, other.Spec.Netns = "c2", "/run/netns/c2"
	w := newWorld(t, straight(other, build.Pod(otherName).OnNode(nodeName).Label("app", "web").Obj())...)
	w.addSandbox("c2")
	w.setPools("10.0.0.0/30", "fd00::/64") // one address beside the router's
	w.mustRun(podName)
	w.mustRun(otherName)
	w.clock.Step(publishAfter)
	w.mustRun(otherName)
	if got := w.ready(otherName); got != "False/PoolExhausted" {
		t.Fatalf("Ready of the second pod is %q", got)
	}
	if event := <-w.news.Events; !strings.Contains(event, "PoolExhausted") || !strings.Contains(event, "IPv4") {
		t.Errorf("the event is %q", event)
	}

	// The first goes: the second is woken when its device is gone, and gets the address though it is cooling.
	w.tombstone("c1", podName)
	w.mustRun(podName)
	w.mustRun(podName)
	w.trash.empty(t.Context(), w.trash.take())
	if woken := (<-w.wake).Object.GetName(); woken != "other" {
		t.Errorf("%q was woken", woken)
	}
	w.mustRun(otherName)
	if got := w.ready(otherName); got != "True/Ready" {
		t.Errorf("Ready of the second pod is %q once an address is free", got)
	}
}

func TestAddressIsClaimedOnce(t *testing.T) {
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	before := w.get(podName).Status.Addresses
	w.mustRun(podName)
	if diff := cmp.Diff(before, w.get(podName).Status.Addresses); diff != "" {
		t.Errorf("the addresses changed:\n%s", diff)
	}
	if w.used() != 1 {
		t.Errorf("%d addresses are used by one pod", w.used())
	}
}

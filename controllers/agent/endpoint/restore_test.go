// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

func TestRestoreAdopts(t *testing.T) {
	w := attached(t)
	before, device := w.get(podName), w.observed(hostIf)
	w.restart()
	if w.Attached() != 1 || w.used() != 1 {
		t.Errorf("%d endpoints are attached, %d addresses used", w.Attached(), w.used())
	}
	w.mustRun(podName)
	if diff := cmp.Diff(before, w.get(podName)); diff != "" {
		t.Errorf("the object changed:\n%s", diff)
	}
	if diff := cmp.Diff(device, w.observed(hostIf), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("the device changed:\n%s", diff)
	}
	if len(w.writes) != 0 {
		t.Errorf("writes: %v", w.writes)
	}
}

// The agent was killed after it made the device and before it wrote the status.
func TestRestoreTakesTheKernelsWord(t *testing.T) {
	w := newWorld(t, straight()...)
	w.failStatus = []error{errors.New("killed")}
	if _, err := w.run(podName); err == nil {
		t.Fatal("the write did not fail")
	}
	device := w.observed(hostIf)
	w.restart()
	w.mustRun(podName)
	if diff := cmp.Diff(device, w.observed(hostIf), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("the endpoint got others than it had (-want +got):\n%s", diff)
	}
	status := w.get(podName).Status
	if got := status.Addresses[0].IP; got != device.Addrs[0].String() || status.EndpointID != int32(device.ID) {
		t.Errorf("the status says %s and number %d, the kernel had %s and %d", got, status.EndpointID, device.Addrs[0], device.ID)
	}
}

// stray makes a device of which no object knows.
func (w *world) stray(container, addr string) dp.Observed {
	w.t.Helper()
	w.addSandbox(container)
	ep := dp.Endpoint{
		UID: "stray-" + container, ID: 77, HostIfName: dp.HostIfName(container, "eth0"), IfName: "eth0",
		Netns: netnsPath(w.NetnsDir, webEndpoint().Obj()), Addrs: []netip.Addr{netip.MustParseAddr(addr)},
	}
	ifc, err := w.dp.EnsureInterface(w.t.Context(), ep)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.dp.EnsureEndpoint(w.t.Context(), ep, ifc); err != nil {
		w.t.Fatal(err)
	}
	return w.observed(ep.HostIfName)
}

func TestRestoreOfStrays(t *testing.T) {
	const addr = "10.0.0.9"
	user := func(phase corev1.PodPhase) *corev1.Pod {
		pod := webPod().Phase(phase).Obj()
		pod.Status.PodIPs = []corev1.PodIP{{IP: addr}}
		return pod
	}
	tests := map[string]struct {
		pod    *corev1.Pod
		buried bool
		want   bool
	}{
		"nobody uses":                           {},
		"a live pod uses":                       {pod: user(corev1.PodRunning), want: true},
		"an ended pod used":                     {pod: user(corev1.PodSucceeded)},
		"a live pod uses, that has a tombstone": {pod: user(corev1.PodRunning), buried: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if tt.pod != nil {
				w.create(tt.pod)
			}
			o := w.stray("c9", addr)
			if tt.buried {
				w.tombstone("c9", podName)
			}
			w.restart()
			if up := w.dp.Up(o.HostIfName); up != tt.want {
				t.Errorf("the device is up: %v, want %v", up, tt.want)
			}
			if (w.used() == 1) != tt.want {
				t.Errorf("%d addresses are used", w.used())
			}
		})
	}
}

func TestStrayGoesWithItsPod(t *testing.T) {
	pod := webPod().Phase(corev1.PodRunning).Obj()
	pod.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.9"}}
	w := newWorld(t, pod)
	o := w.stray("c9", "10.0.0.9")
	w.restart()
	w.remove(pod)
	w.sweep(t.Context())
	w.tidy()
	if w.dp.Up(o.HostIfName) || w.used() != 0 || w.observed(o.HostIfName).HostIndex != 0 {
		t.Errorf("the stray is there after its pod: %v, %d addresses are used", w.observed(o.HostIfName), w.used())
	}
}

// What has lost its device while no agent ran: entries without a name.
func TestRestoreRemovesEntriesWithoutDevice(t *testing.T) {
	w := newWorld(t)
	o := w.stray("c9", "10.0.0.9")
	if err := w.dp.DeleteInterface(t.Context(), o.HostIfName); err != nil {
		t.Fatal(err)
	}
	w.restart()
	left, err := w.dp.Endpoints(t.Context())
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if w.used() != 0 || w.trash.has("") {
		t.Errorf("%d addresses are used; a device without a name is to be deleted: %v", w.used(), w.trash.has(""))
	}
}

func TestRestoreIsRepeatable(t *testing.T) {
	w := attached(t)
	w.stray("c9", "10.0.0.9")
	w.Reconciler = New(w.Options)
	w.dp.Fail("RemoveEndpoint", 1, errors.New("busy"))
	if err := w.Restore(t.Context()); err == nil {
		t.Fatal("the error was lost")
	}
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.tidy()
	if w.Attached() != 1 || w.dp.Up(dp.HostIfName("c9", "eth0")) {
		t.Errorf("%d endpoints are attached, the stray is up: %v", w.Attached(), w.dp.Up(dp.HostIfName("c9", "eth0")))
	}
}

func TestNothingIsAttachedBeforeServe(t *testing.T) {
	w := newWorld(t, straight()...)
	w.Reconciler = New(w.Options)
	w.mustRun(podName)
	if w.Attached() != 0 || w.observed(hostIf).HostIndex != 0 {
		t.Error("an endpoint was attached before Restore")
	}
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if woken := (<-w.wake).Object.GetName(); woken != "web" {
		t.Errorf("%q was woken", woken)
	}
}

// An object that went away between Restore and Serve is looked at too: its event came when nobody listened.
func TestServeWakesWhatIsMissing(t *testing.T) {
	w := attached(t)
	w.Reconciler = New(w.Options)
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.behind[podName] = true
	cep := w.get(podName)
	cep.Finalizers = nil
	w.update(cep)
	w.remove(cep)
	if err := w.Serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.wake) != 1 {
		t.Errorf("%d were woken, want 1", len(w.wake))
	}
}

func TestWakeAllEndsWithItsContext(t *testing.T) {
	w := attached(t)
	for len(w.wake) < cap(w.wake) {
		w.wakeName(t.Context(), key("default/other"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.WakeAll(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/test/build"
)

// attached is a world in which the pod is served.
func attached(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	w.writes = map[string]int{}
	return w
}

func TestDeletion(t *testing.T) {
	tests := map[string]struct {
		happens func(*world)
		after   time.Duration
		want    string
	}{
		"of a live sandbox is held":             {want: "True/Ready"},
		"with a tombstone is done":              {happens: func(w *world) { w.tombstone("c1", podName) }, want: "gone"},
		"with another sandbox's tombstone":      {happens: func(w *world) { w.tombstone("c2", podName) }, want: "True/Ready"},
		"of a namespace that is gone is done":   {happens: func(w *world) { w.closeSandbox("c1") }, want: "gone"},
		"of a device that is gone is done":      {happens: func(w *world) { _ = w.dp.DeleteInterface(w.t.Context(), hostIf) }, want: "gone"},
		"of a pod that is gone is held":         {happens: func(w *world) { w.remove(webPod().Obj()) }, after: podGrace - time.Second, want: "True/Ready"},
		"of a pod long gone is done":            {happens: func(w *world) { w.remove(webPod().Obj()) }, after: podGrace, want: "gone"},
		"of a pod that came again is done":      {happens: func(w *world) { w.remove(webPod().Obj()); w.create(webPod().UID("next").Obj()) }, after: podGrace, want: "gone"},
		"of a pod that has ended is held still": {happens: func(w *world) { w.update(webPod().Phase("Succeeded").Obj()) }, after: time.Hour, want: "True/Ready"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := attached(t)
			w.remove(w.get(podName))
			if tt.happens != nil {
				tt.happens(w)
			}
			w.mustRun(podName)
			w.clock.Step(tt.after)
			w.mustRun(podName)
			w.tidy()
			if got := w.ready(podName); got != tt.want {
				t.Errorf("the endpoint is %q, want %q", got, tt.want)
			}
			served := tt.want != "gone"
			if up := w.dp.Up(hostIf); up != served {
				t.Errorf("the device is up: %v, want %v", up, served)
			}
			if (w.used() == 1) != served || (w.Attached() == 1) != served {
				t.Errorf("%d addresses are used, %d endpoints attached", w.used(), w.Attached())
			}
		})
	}
}

func TestDeletionHeldIsSaidOnce(t *testing.T) {
	w := attached(t)
	w.remove(w.get(podName))
	for range 3 {
		if again := w.mustRun(podName).RequeueAfter; again != heldAgain {
			t.Errorf("again after %s, want %s", again, heldAgain)
		}
	}
	if len(w.news.Events) != 1 {
		t.Fatalf("%d events, want 1", len(w.news.Events))
	}
	if event := <-w.news.Events; !strings.Contains(event, "DeletionHeld") {
		t.Errorf("the event is %q", event)
	}
	if len(w.writes) != 0 {
		t.Errorf("writes: %v, want none", w.writes)
	}
}

func TestOrderOfUndoing(t *testing.T) {
	w := attached(t)
	addr := w.observed(hostIf).Addrs[0]
	w.tombstone("c1", podName)
	w.mustRun(podName) // deletes
	w.mustRun(podName) // finalizes
	if diff := cmp.Diff(map[string]int{"delete": 1, "release": 1}, w.writes); diff != "" {
		t.Errorf("writes of a DEL (-want +got):\n%s", diff)
	}
	if !w.trash.has(hostIf) || w.dp.Up(hostIf) {
		t.Error("the device is to be down, and deleted later")
	}
	if err := w.pool.Adopt("another", addr); err == nil {
		t.Error("the address was free before its device was gone")
	}
	w.tidy()
	if err := w.pool.Adopt("another", addr); err != nil {
		t.Errorf("the address was not freed with its device: %v", err)
	}
	if i := slices.Index(w.dp.Calls(), "RemoveEndpoint"); i < 0 || slices.Index(w.dp.Calls(), "DeleteInterface") < i {
		t.Errorf("calls: %v", w.dp.Calls())
	}
}

func TestUndoIsTriedAgain(t *testing.T) {
	w := attached(t)
	w.tombstone("c1", podName)
	w.dp.Fail("RemoveEndpoint", 1, errors.New("busy"))
	if _, err := w.run(podName); err == nil || w.writes["delete"] != 0 {
		t.Fatalf("err = %v, %d deletions: the object must not go before its entries", err, w.writes["delete"])
	}
	w.mustRun(podName)
	w.mustRun(podName)
	if got := w.ready(podName); got != "gone" {
		t.Errorf("the endpoint is %q", got)
	}
}

// pod-lifecycle.md DEL 3: a CR that is missing is confirmed by a live GET, and Pod UID and netns checked.
func TestObjectThatIsMissing(t *testing.T) {
	strip := func(w *world) {
		cep := w.get(podName)
		cep.Finalizers = nil
		w.update(cep)
		w.remove(cep)
	}
	tests := map[string]struct {
		happens func(*world)
		after   time.Duration
		want    bool
	}{
		"only in the cache":                  {happens: func(w *world) { w.behind[podName] = true }, after: time.Hour, want: true},
		"while its pod lives":                {happens: strip, after: time.Hour, want: true},
		"and its pod gone, within the grace": {happens: func(w *world) { strip(w); w.remove(webPod().Obj()) }, after: podGrace - time.Second, want: true},
		"and its pod long gone":              {happens: func(w *world) { strip(w); w.remove(webPod().Obj()) }, after: podGrace},
		"and its namespace":                  {happens: func(w *world) { strip(w); w.closeSandbox("c1") }},
		"and its tombstone there":            {happens: func(w *world) { strip(w); w.tombstone("c1", podName) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := attached(t)
			tt.happens(w)
			w.mustRun(podName)
			w.clock.Step(tt.after)
			w.mustRun(podName)
			w.tidy()
			if up := w.dp.Up(hostIf); up != tt.want {
				t.Errorf("the device is up: %v, want %v", up, tt.want)
			}
			if got := w.used(); (got == 1) != tt.want {
				t.Errorf("%d addresses are used", got)
			}
		})
	}
}

// The name of a pod is used again, by another sandbox on the same node.
func TestSuccessorOfTheSameName(t *testing.T) {
	w := attached(t)
	old := w.get(podName)
	old.Finalizers = nil
	w.update(old)
	w.remove(old)
	next := webEndpoint().PodUID("next").Obj()
	next.UID, next.Spec.ContainerID, next.Spec.Netns = "next-endpoint", "c2", "/run/netns/c2"
	w.addSandbox("c2")
	w.create(next)
	w.update(webPod().UID("next").Obj())
	w.mustRun(podName)
	w.tidy()
	if got := w.ready(podName); got != "True/Ready" {
		t.Errorf("Ready of the successor is %q", got)
	}
	if w.dp.Up(hostIf) || !w.dp.Up(dp.HostIfName("c2", "eth0")) || w.used() != 1 {
		t.Errorf("the first is up: %v, the second: %v, %d addresses are used",
			w.dp.Up(hostIf), w.dp.Up(dp.HostIfName("c2", "eth0")), w.used())
	}
}

// A DEL and an ADD of one and the same sandbox: the first device must not take the second with it when it goes.
func TestSameSandboxAgain(t *testing.T) {
	w := attached(t)
	w.tombstone("c1", podName)
	w.mustRun(podName)
	w.mustRun(podName)
	next := webEndpoint().Obj()
	next.UID = "second"
	w.create(next)
	if err := unbury(w, "c1-eth0"); err != nil {
		t.Fatal(err)
	}
	w.mustRun(podName)
	if w.dp.Up(hostIf) {
		t.Fatal("the second attachment took over a device that is about to be deleted")
	}
	w.trash.empty(t.Context(), w.trash.take())
	if woken := (<-w.wake).Object.GetName(); woken != "web" {
		t.Errorf("%q was woken when the device was gone", woken)
	}
	w.mustRun(podName)
	w.tidy()
	if got := w.ready(podName); got != "True/Ready" || w.observed(hostIf).UID != "second" || w.used() != 1 {
		t.Errorf("Ready is %q, the device is %s's, %d addresses are used", got, w.observed(hostIf).UID, w.used())
	}
}

func TestEndpointNeverServedIsReleased(t *testing.T) {
	w := newWorld(t, webEndpoint().Obj(), defaultNamespace(), build.Pod(podName).OnNode("n2").Obj())
	w.tombstone("c1", podName)
	w.mustRun(podName)
	w.mustRun(podName)
	w.tidy()
	if got := w.ready(podName); got != "gone" || w.used() != 0 {
		t.Errorf("the endpoint is %q, %d addresses are used", got, w.used())
	}
}

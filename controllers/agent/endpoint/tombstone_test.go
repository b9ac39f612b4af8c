// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

func unbury(w *world, file string) error { return os.Remove(filepath.Join(string(w.Tombstones), file)) }

func buried(w *world, file string) bool {
	_, err := os.Stat(filepath.Join(string(w.Tombstones), file))
	return err == nil
}

// An ADD of unknown outcome may create the object after the DEL.
func TestObjectThatComesLate(t *testing.T) {
	w := newWorld(t, webPod().Obj(), defaultNamespace(), identityOf("1001", "web"))
	w.tombstone("c1", podName)
	w.create(webEndpoint().Obj())
	w.mustRun(podName)
	w.mustRun(podName)
	if got := w.ready(podName); got != "gone" || w.observed(hostIf).HostIndex != 0 {
		t.Errorf("the endpoint is %q, the kernel has %v", got, w.observed(hostIf))
	}
}

// The pod is off the network at once; the object follows when the apiserver is back.
func TestTombstoneWhileTheAPIServerIsAway(t *testing.T) {
	w := attached(t)
	w.tombstone("c1", podName)
	w.failDelete = []error{errors.New("connection refused")}
	if _, err := w.run(podName); err == nil || w.dp.Up(hostIf) {
		t.Errorf("the error is %v, the device is up: %v", err, w.dp.Up(hostIf))
	}
	w.mustRun(podName)
	w.mustRun(podName)
	if got := w.ready(podName); got != "gone" || w.writes["delete"] != 2 {
		t.Errorf("the endpoint is %q after %d deletions", got, w.writes["delete"])
	}
}

func TestTombstoneIsKept(t *testing.T) {
	tests := map[string]struct {
		cep  *v1alpha1.CiliumEndpoint
		age  time.Duration
		want bool
	}{
		"for its five minutes":                    {age: tombstoneAge - time.Second, want: true},
		"no longer once its object is gone":       {age: tombstoneAge},
		"while its object is there":               {cep: webEndpoint().Obj(), age: time.Hour, want: true},
		"not for the object of another container": {cep: another(), age: tombstoneAge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if tt.cep != nil {
				w.create(tt.cep)
			}
			file := w.tombstone("c1", podName)
			w.clock.Step(tt.age)
			w.sweep(t.Context())
			if got := buried(w, file); got != tt.want {
				t.Errorf("the tombstone is there: %v, want %v", got, tt.want)
			}
		})
	}
}

func another() *v1alpha1.CiliumEndpoint {
	cep := webEndpoint().Obj()
	cep.Spec.ContainerID = "c2"
	return cep
}

func TestSweepDeletesTheObjectFirst(t *testing.T) {
	w := newWorld(t, straight()...)
	file := w.tombstone("c1", podName)
	w.clock.Step(tombstoneAge)
	w.sweep(t.Context())
	w.mustRun(podName)
	w.sweep(t.Context())
	if w.ready(podName) != "gone" || buried(w, file) {
		t.Errorf("the endpoint is %q, the tombstone is there: %v", w.ready(podName), buried(w, file))
	}
}

// A DEL without CNI_ARGS names no pod.
func TestTombstoneWithoutAName(t *testing.T) {
	w := attached(t)
	file := w.tombstone("c1", "")
	w.wakeByTombstone(t.Context(), file)
	if woken := (<-w.wake).Object.GetName(); woken != "web" {
		t.Fatalf("%q was woken", woken)
	}
	w.mustRun(podName)
	w.clock.Step(tombstoneAge)
	w.sweep(t.Context()) // the object is still there
	if !buried(w, file) {
		t.Error("the tombstone went before its object")
	}
	w.mustRun(podName)
	w.sweep(t.Context())
	if w.ready(podName) != "gone" || buried(w, file) {
		t.Errorf("the endpoint is %q, the tombstone is there: %v", w.ready(podName), buried(w, file))
	}
}

func TestUnfinishedTombstonesAreNotLookedAt(t *testing.T) {
	w := attached(t)
	path := filepath.Join(string(w.Tombstones), ".new-1")
	if err := os.WriteFile(path, []byte(`{"containerID":"c1","ifName":"eth0"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.clock.Step(time.Hour)
	w.sweep(t.Context())
	if !buried(w, ".new-1") || len(w.wake) != 0 {
		t.Error("a file that is being written was taken for a tombstone")
	}
}

func TestWhatIsNoTombstoneStays(t *testing.T) {
	w := attached(t)
	path := filepath.Join(string(w.Tombstones), "notes")
	if err := os.WriteFile(path, []byte("to do"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.wakeByTombstone(t.Context(), "notes")
	if len(w.wake) != 0 {
		t.Error("a file that is no tombstone woke somebody")
	}
}

// The folder itself, watched as on a node.
func TestTombstoneWakesItsEndpoint(t *testing.T) {
	w := attached(t)
	w.Clock = clock.RealClock{}
	done := make(chan error, 1)
	go func() { done <- w.watchTombstones(t.Context()) }()
	deadline := time.After(10 * time.Second)
	for {
		w.tombstone("c1", podName)
		select {
		case e := <-w.wake:
			if e.Object.GetName() != "web" {
				t.Errorf("%q was woken", e.Object.GetName())
			}
			return
		case <-time.After(50 * time.Millisecond):
			if err := unbury(w, "c1-eth0"); err != nil { // the watch was not there yet
				t.Fatal(err)
			}
		case err := <-done:
			t.Fatalf("the watch ended: %v", err)
		case <-deadline:
			t.Fatal("nobody was woken")
		}
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

func TestErrorsOfTheKernel(t *testing.T) {
	busy := errors.New("device or resource busy")
	tests := map[string]struct {
		method    string
		err       error
		wantReady string // after publishAfter
		wantUsed  int64  // addresses
		wantErr   bool
	}{
		"the namespace went away meanwhile": {
			method: "EnsureInterface", err: fmt.Errorf("open: %w", dp.ErrSandboxGone), wantReady: "False/SandboxGone",
		},
		"the path is no namespace": {
			method: "EnsureInterface", err: fmt.Errorf("open: %w", dp.ErrInvalidNetns), wantReady: "False/InvalidNetns",
		},
		"the device cannot be made":   {method: "EnsureInterface", err: busy, wantReady: "False/DatapathError", wantUsed: 1, wantErr: true},
		"the entries cannot be made":  {method: "EnsureEndpoint", err: busy, wantReady: "False/DatapathError", wantUsed: 1, wantErr: true},
		"the node is not programmed":  {method: "EnsureInterface", err: dp.ErrNoNode, wantReady: "False/DatapathError", wantUsed: 1, wantErr: true},
		"the node lost its own state": {method: "EnsureEndpoint", err: dp.ErrNoNode, wantReady: "False/DatapathError", wantUsed: 1, wantErr: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, straight()...)
			w.dp.Fail(tt.method, 1, tt.err)
			w.dp.Fail(tt.method, 2, tt.err)
			_, first := w.run(podName)
			w.tidy()
			w.clock.Step(publishAfter)
			_, second := w.run(podName)
			w.tidy()
			if (first != nil) != tt.wantErr || (second != nil) != tt.wantErr {
				t.Errorf("errors %v and %v", first, second)
			}
			if got := w.ready(podName); got != tt.wantReady {
				t.Errorf("Ready is %q, want %q", got, tt.wantReady)
			}
			if w.used() != tt.wantUsed {
				t.Errorf("%d addresses are used, want %d", w.used(), tt.wantUsed)
			}
			if w.writes["status"] != 1 {
				t.Errorf("%d writes, want 1", w.writes["status"])
			}
			w.mustRun(podName)
			if got := w.ready(podName); got != "True/Ready" {
				t.Errorf("Ready is %q once the kernel allows it", got)
			}
		})
	}
}

// An error that passes within a moment costs no write of its own.
func TestErrorThatPasses(t *testing.T) {
	w := newWorld(t, straight()...)
	w.dp.Fail("EnsureEndpoint", 1, errors.New("interrupted"))
	if _, err := w.run(podName); err == nil {
		t.Fatal("no error: who would try again?")
	}
	w.mustRun(podName)
	if diff := cmp.Diff(map[string]int{"status": 1}, w.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func TestTerminalEndpoint(t *testing.T) {
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	w.closeSandbox("c1")
	w.mustRun(podName)
	w.tidy()
	got := w.get(podName).Status
	if len(got.Addresses) > 0 || got.Interface != nil || got.EndpointID != 0 || w.used() != 0 {
		t.Errorf("a terminal endpoint still has %v, %v, %d; %d addresses are used", got.Addresses, got.Interface, got.EndpointID, w.used())
	}
	if ready := w.ready(podName); ready != "False/SandboxGone" {
		t.Errorf("Ready is %q", ready)
	}
	for _, c := range []string{v1alpha1.ConditionAddressAssigned, v1alpha1.ConditionDatapathProgrammed, v1alpha1.ConditionPolicyEnforced} {
		if state := condition(w.get(podName), c); state != "" {
			t.Errorf("%s is %q, want none", c, state)
		}
	}
	calls, writes := len(w.dp.Calls()), w.writes["status"]
	w.clock.Step(time.Hour)
	w.mustRun(podName)
	if len(w.dp.Calls()) != calls || w.writes["status"] != writes {
		t.Error("a terminal endpoint was undone or written again")
	}
}

func TestSandboxesAreLookedForWhereThisProcessSeesThem(t *testing.T) {
	cep := webEndpoint().Obj()
	for _, spec := range []string{"/run/netns/c1", "/var/run/netns/c1"} {
		cep.Spec.Netns = spec
		if got := netnsPath("/host/run/netns", cep); got != filepath.Join("/host/run/netns", "c1") {
			t.Errorf("%s became %s", spec, got)
		}
	}
}

// A write that came too early is tried again, quietly: the operator or the plugin wrote meanwhile.
func TestConflict(t *testing.T) {
	w := newWorld(t, straight()...)
	resource := schema.GroupResource{Group: v1alpha1.GroupName, Resource: "ciliumendpoints"}
	w.failStatus = []error{apierrors.NewConflict(resource, "web", errors.New("changed"))}
	if again := w.mustRun(podName).RequeueAfter; again <= 0 || again > time.Second {
		t.Errorf("again after %s, want soon", again)
	}
	device := w.observed(hostIf)
	w.mustRun(podName)
	if diff := cmp.Diff(device, w.observed(hostIf), cmp.Comparer(func(a, b dp.Observed) bool { return a.HostIndex == b.HostIndex && a.ID == b.ID })); diff != "" {
		t.Errorf("the device changed:\n%s", diff)
	}
	if got := w.ready(podName); got != "True/Ready" {
		t.Errorf("Ready is %q", got)
	}
}

// An object of the same name that came meanwhile is not written: its status would be another sandbox's.
func TestStatusGoesToTheObjectThatWasReconciled(t *testing.T) {
	w := newWorld(t, straight()...)
	a := w.attachments.ensure(w.get(podName), w.clock.Now())
	if err := w.findPod(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	o := w.attach(t.Context(), a)
	later := w.get(podName)
	later.Annotations = map[string]string{"changed": "meanwhile"}
	w.update(later)
	if _, err := w.publish(t.Context(), a, o); !apierrors.IsConflict(err) {
		t.Errorf("err = %v, want a conflict", err)
	}
}

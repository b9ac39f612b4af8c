// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package identity

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
	"github.com/ciliate-io/ciliate/test/build"
)

func newReconciler(t *testing.T, objects ...client.Object) (*Reconciler, client.Client, *fake.Datapath) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	d := fake.New()
	return New(c, d), c, d
}

func reconcile(t *testing.T, r *Reconciler, name string) error {
	t.Helper()
	_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: name}})
	return err
}

func TestReconcile(t *testing.T) {
	now := metav1.Now()
	retired := build.Identity("1001", "k8s:app", "web")
	retired.Status.RetiredAt = &now
	tests := map[string]struct {
		objects []client.Object
		before  []dp.Identity
		name    string
		want    []dp.Identity
	}{
		"a new one is known":                   {objects: []client.Object{build.Identity("1001", "k8s:app", "web")}, name: "1001", want: []dp.Identity{1001}},
		"a retired one keeps its meaning":      {objects: []client.Object{retired}, before: []dp.Identity{1001}, name: "1001", want: []dp.Identity{1001}},
		"one that is gone is known no longer":  {before: []dp.Identity{1001, 1002}, name: "1001", want: []dp.Identity{1002}},
		"a name that is no number is nothing":  {before: []dp.Identity{1001}, name: "web", want: []dp.Identity{1001}},
		"a number that no packet could carry":  {before: []dp.Identity{1001}, name: "16777216", want: []dp.Identity{1001}},
		"one that is gone and was never known": {name: "1001"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, _, d := newReconciler(t, tt.objects...)
			if err := d.SyncIdentities(tt.before); err != nil {
				t.Fatal(err)
			}
			if err := reconcile(t, r, tt.name); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, d.Identities()); diff != "" {
				t.Errorf("identities (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSync(t *testing.T) {
	r, _, d := newReconciler(t, build.Identity("1001", "k8s:app", "web"), build.Identity("1002", "k8s:app", "db"))
	if err := d.SyncIdentities([]dp.Identity{1001, 999}); err != nil {
		t.Fatal(err)
	}
	if err := r.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]dp.Identity{1001, 1002}, d.Identities()); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
}

func TestErrorsOfTheKernelAreTriedAgain(t *testing.T) {
	busy := errors.New("busy")
	r, c, d := newReconciler(t, build.Identity("1001", "k8s:app", "web"))
	d.Fail("PutIdentity", 1, busy)
	if err := reconcile(t, r, "1001"); !errors.Is(err, busy) {
		t.Errorf("err = %v", err)
	}
	if err := c.Delete(t.Context(), build.Identity("1001")); err != nil {
		t.Fatal(err)
	}
	d.Fail("DeleteIdentity", 1, busy)
	if err := reconcile(t, r, "1001"); !errors.Is(err, busy) {
		t.Errorf("err = %v", err)
	}
}

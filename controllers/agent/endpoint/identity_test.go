// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
)

func retired(id *v1alpha1.CiliumIdentity) *v1alpha1.CiliumIdentity {
	now := metav1.Now()
	id.Status.RetiredAt = &now
	return id
}

func TestIdentityOfAPod(t *testing.T) {
	tests := map[string]struct {
		identities []client.Object
		want       dp.Identity
	}{
		"none yet":                              {},
		"that of its labels":                    {identities: []client.Object{identityOf("1001", "web"), identityOf("1002", "db")}, want: 1001},
		"none of its labels":                    {identities: []client.Object{identityOf("1002", "db")}},
		"the lowest of two":                     {identities: []client.Object{identityOf("2000", "web"), identityOf("999", "web")}, want: 999},
		"a retired one is not chosen":           {identities: []client.Object{retired(identityOf("1001", "web"))}},
		"the one that is in use of two":         {identities: []client.Object{retired(identityOf("999", "web")), identityOf("2000", "web")}, want: 2000},
		"numbers are compared, and not words":   {identities: []client.Object{identityOf("10000", "web"), identityOf("9999", "web")}, want: 9999},
		"a name that is no number is no number": {identities: []client.Object{identityOf("web", "web")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			objects := append([]client.Object{webPod().Obj(), webEndpoint().Obj(), defaultNamespace()}, tt.identities...)
			w := newWorld(t, objects...)
			w.mustRun(podName)
			if got := w.observed(hostIf).Identity; got != tt.want {
				t.Errorf("the kernel has identity %d, want %d", got, tt.want)
			}
		})
	}
}

func TestNoFilterNoIdentity(t *testing.T) {
	w := newWorld(t, straight()...)
	w.node.filter = nil
	w.mustRun(podName)
	w.clock.Step(publishAfter)
	w.mustRun(podName)
	if got := condition(w.get(podName), v1alpha1.ConditionIdentityAssigned); got != "False/WaitingForIdentity" {
		t.Errorf("IdentityAssigned is %q", got)
	}
}

func TestLabelChange(t *testing.T) {
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	w.update(webPod().Label("app", "db").Obj())
	w.clock.Step(publishAfter)
	w.mustRun(podName)
	if got := w.observed(hostIf).Identity; got != 1001 {
		t.Errorf("the kernel has identity %d before the new one exists, want the old", got)
	}
	if got := w.ready(podName); got != "True/Ready" || w.writes["status"] != 1 {
		t.Errorf("Ready is %q after %d writes, want the pod to be served as before", got, w.writes["status"])
	}
	fresh := identityOf("1002", "db")
	if woken := w.withIdentity(t.Context(), fresh); len(woken) != 1 || woken[0].NamespacedName != key(podName) {
		t.Errorf("the new identity wakes %v", woken)
	}
	if woken := w.withIdentity(t.Context(), identityOf("1003", "cache")); len(woken) != 0 {
		t.Errorf("an identity of other labels wakes %v", woken)
	}
	w.create(fresh)
	w.mustRun(podName)
	if got := w.observed(hostIf).Identity; got != 1002 {
		t.Errorf("the kernel has identity %d, want the new one", got)
	}
	if got := w.get(podName).Status.Identity.Number; got != 1002 || w.writes["status"] != 2 {
		t.Errorf("the status has %d after %d writes, want one more write", got, w.writes["status"])
	}
}

func TestIdentityThatIsRetiredStays(t *testing.T) {
	w := newWorld(t, straight()...)
	w.mustRun(podName)
	id := identityOf("1001", "web")
	if err := w.api.Get(t.Context(), client.ObjectKeyFromObject(id), id); err != nil {
		t.Fatal(err)
	}
	if err := w.api.Status().Update(t.Context(), retired(id)); err != nil {
		t.Fatal(err)
	}
	w.mustRun(podName)
	if diff := cmp.Diff(map[string]int{"status": 1}, w.writes); diff != "" || w.observed(hostIf).Identity != 1001 {
		t.Errorf("a retired identity was taken away (identity %d):\n%s", w.observed(hostIf).Identity, diff)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package admission

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

const undeploy = "../../../hack/undeploy.sh"

// testUndeploy: there are no kubelets here, so the agents are gone beforehand; that nodes are cleaned is seen on the real
// cluster (test/e2e). It comes last: nothing of the installation is left.
func testUndeploy(t *testing.T, c *cluster) {
	agents := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "cilium"}}
	if err := c.admin.Delete(t.Context(), agents); err != nil {
		t.Fatal(err)
	}
	ep := endpoint("kept", "n1")
	ep.Finalizers = []string{"example.com/mine", v1alpha1.EndpointFinalizer}
	c.create(t, ep)
	c.mustRun(t, undeploy)

	if err := c.admin.Get(t.Context(), client.ObjectKeyFromObject(ep), ep); err != nil {
		t.Fatalf("the endpoint must stay: %v", err)
	}
	if want := []string{"example.com/mine"}; !slices.Equal(want, ep.Finalizers) {
		t.Errorf("finalizers are %v, want %v", ep.Finalizers, want)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if err := c.admin.Get(t.Context(), client.ObjectKeyFromObject(node), node); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == "node.cilium.io/agent-not-ready" }) {
		t.Error("new pods are not kept off the nodes")
	}
	ours := client.MatchingLabels{"app.kubernetes.io/part-of": "ciliate"}
	for _, list := range []client.ObjectList{
		&appsv1.DeploymentList{}, &appsv1.DaemonSetList{}, &corev1.ConfigMapList{}, &corev1.ServiceAccountList{},
		&rbacv1.ClusterRoleList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{},
	} {
		c.wantNone(t, list, ours)
	}
	c.mustRun(t, undeploy)

	if err := patch(t.Context(), c.admin, ep, `{"metadata":{"finalizers":null}}`); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PURGE", "1")
	c.mustRun(t, undeploy)
	c.wantNone(t, &apiextensionsv1.CustomResourceDefinitionList{}, client.HasLabels{v1alpha1.SchemaLabel})
}

func (c *cluster) mustRun(t *testing.T, command string) {
	t.Helper()
	if out, err := c.run(t, command); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func (c *cluster) wantNone(t *testing.T, list client.ObjectList, options ...client.ListOption) {
	t.Helper()
	if err := c.admin.List(t.Context(), list, options...); err != nil {
		t.Fatal(err)
	}
	items, err := meta.ExtractList(list)
	if err != nil || len(items) > 0 {
		t.Errorf("%d objects of %T are left: %v", len(items), list, err)
	}
}

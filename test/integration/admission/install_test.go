// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package admission

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testSamples: the API server takes every sample, and what undeploy runs on the nodes, unknown fields refused.
func testSamples(t *testing.T, c *cluster) {
	samples, err := filepath.Glob(configDir + "samples/*.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, sample := range append(samples, "../../../hack/undeploy.yaml") {
		if out, err := c.run(t, c.kubectl, "apply", "--validate=strict", "--dry-run=server", "-f", sample); err != nil {
			t.Errorf("%s is refused: %s", sample, out)
		}
	}
}

// testPreflight: our own objects pass, each of Cilium's is refused by name, and nothing was changed.
func testPreflight(t *testing.T, c *cluster) {
	foreign := metav1.ObjectMeta{Namespace: namespace, Name: "cilium"}
	labels := map[string]string{"k8s-app": "cilium"}
	cases := map[string]struct {
		present     client.Object
		wantRefused string
	}{
		"ours alone": {},
		"Cilium's DaemonSet": {
			present: &appsv1.DaemonSet{ObjectMeta: foreign, Spec: appsv1.DaemonSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "cilium-agent", Image: "cilium"}}},
				},
			}},
			wantRefused: `DaemonSet "cilium" in namespace default is not ours`,
		},
		"a CRD of Cilium's": {present: foreignCRD(), wantRefused: "ciliumthings.cilium.io without the label ciliate.dev/schema"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.present != nil {
				c.create(t, tc.present)
				defer c.deleteAndWait(t, tc.present)
			}
			out, err := c.run(t, "../../../hack/preflight/preflight.sh")
			if refused := err != nil; refused != (tc.wantRefused != "") || !strings.Contains(out, tc.wantRefused) {
				t.Errorf("preflight ended with %v and said %q, want %q", err, out, tc.wantRefused)
			}
		})
	}
}

// deleteAndWait: a CRD is cleaned up in the background, and the next case must not see it.
func (c *cluster) deleteAndWait(t *testing.T, o client.Object) {
	t.Helper()
	if err := c.admin.Delete(t.Context(), o); err != nil {
		t.Fatalf("delete %s: %v", o.GetName(), err)
	}
	gone := func(ctx context.Context) (bool, error) {
		err := c.admin.Get(ctx, client.ObjectKeyFromObject(o), o)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, gone); err != nil {
		t.Fatalf("%s stays: %v", o.GetName(), err)
	}
}

func foreignCRD() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "ciliumthings.cilium.io"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "cilium.io", Scope: apiextensionsv1.ClusterScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "ciliumthings", Kind: "CiliumThing"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v2", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	}
}

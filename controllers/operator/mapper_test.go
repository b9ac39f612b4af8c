// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package operator

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/yaml"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

func newMapper(t *testing.T) meta.RESTMapper {
	t.Helper()
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	m, err := mapper(scheme)(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What the mapper guesses of our kinds is what their CRDs say.
func TestMapperKnowsOurKinds(t *testing.T) {
	files, err := filepath.Glob("../../config/crd/bases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d CRDs, error %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := struct {
			Spec struct {
				Scope string
				Names struct{ Kind, Plural string }
			}
		}{}
		if err := yaml.Unmarshal(data, &crd); err != nil {
			t.Fatal(err)
		}
		wantMapping(t, schema.GroupKind{Group: v1alpha1.GroupName, Kind: crd.Spec.Names.Kind}, crd.Spec.Names.Plural,
			crd.Spec.Scope == "Cluster")
	}
}

func TestMapperKnowsOthersKinds(t *testing.T) {
	for kind, want := range map[schema.GroupKind]struct {
		resource string
		cluster  bool
	}{
		{Kind: "Pod"}:       {resource: "pods"},
		{Kind: "Service"}:   {resource: "services"},
		{Kind: "Node"}:      {resource: "nodes", cluster: true},
		{Kind: "Namespace"}: {resource: "namespaces", cluster: true},
		{Group: "coordination.k8s.io", Kind: "Lease"}:                     {resource: "leases"},
		{Group: "events.k8s.io", Kind: "Event"}:                           {resource: "events"},
		{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: {resource: "customresourcedefinitions", cluster: true},
	} {
		wantMapping(t, kind, want.resource, want.cluster)
	}
}

func wantMapping(t *testing.T, kind schema.GroupKind, resource string, cluster bool) {
	t.Helper()
	got, err := newMapper(t).RESTMapping(kind)
	if err != nil {
		t.Error(err)
		return
	}
	if got.Resource.Resource != resource || (got.Scope == meta.RESTScopeRoot) != cluster {
		t.Errorf("%s: %s, scope %s; want %s, of the cluster: %v", kind, got.Resource.Resource, got.Scope.Name(), resource, cluster)
	}
}

// The process must live while the API server is away.
func TestManagerNeedsNoAPIServer(t *testing.T) {
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	options := Options(scheme, "kube-system")
	options.Metrics.BindAddress = "0"
	if _, err := ctrl.NewManager(&rest.Config{Host: "https://127.0.0.1:1"}, options); err != nil {
		t.Error(err)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package operator

import (
	"maps"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// clusterScoped tells whether a kind belongs to no namespace, of those that the operator works with.
func clusterScoped(kind schema.GroupVersionKind) bool {
	switch kind.Group {
	case v1alpha1.GroupName:
		return kind.Kind != "CiliumEndpoint"
	case corev1.GroupName:
		return kind.Kind == "Node" || kind.Kind == "Namespace"
	}
	return kind == definition()
}

// definition is the kind of CRDs, of which only metadata is read: no scheme has it.
func definition() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
}

// mapper knows the resource of every kind without asking the API server. One that asks fails while the API server is away,
// and a process that ends for that comes back only after the kubelet's ever longer pauses.
func mapper(scheme *runtime.Scheme) func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	return func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
		m := meta.NewDefaultRESTMapper(append(scheme.PrioritizedVersionsAllGroups(), definition().GroupVersion()))
		kinds := append(slices.Collect(maps.Keys(scheme.AllKnownTypes())), definition())
		for _, kind := range kinds {
			scope := meta.RESTScopeNamespace
			if clusterScoped(kind) {
				scope = meta.RESTScopeRoot
			}
			m.Add(kind, scope)
		}
		return m, nil
	}
}

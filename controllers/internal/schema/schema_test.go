// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package schema

import (
	"context"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// crds answers for CRDs by name with their labels.
type crds struct {
	client.Reader
	labels map[string]map[string]string
}

func (c crds) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	labels, ok := c.labels[key.Name]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "customresourcedefinitions"}, key.Name)
	}
	obj.(*metav1.PartialObjectMetadata).Labels = labels
	return nil
}

func TestCheck(t *testing.T) {
	current := strconv.Itoa(v1alpha1.SchemaVersion)
	tests := map[string]struct {
		nodes map[string]string // The labels of the CRD of CiliumNode; the others are well.
		gone  bool
		want  string
	}{
		"all ours and current":   {nodes: map[string]string{v1alpha1.SchemaLabel: current}},
		"newer than this binary": {nodes: map[string]string{v1alpha1.SchemaLabel: "99"}},
		"older than this binary": {nodes: map[string]string{v1alpha1.SchemaLabel: "0"}, want: "revision 0"},
		"without our label":      {nodes: map[string]string{"io.cilium.k8s.crd.schema.version": "1.31"}, want: "is Cilium installed"},
		"with a label of no use": {nodes: map[string]string{v1alpha1.SchemaLabel: "x"}, want: "invalid syntax"},
		"missing":                {gone: true, want: "not found"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			well := map[string]string{v1alpha1.SchemaLabel: current}
			live := crds{labels: map[string]map[string]string{
				"ciliumconfigs.cilium.io": well, "ciliumendpoints.cilium.io": well, "ciliumidentities.cilium.io": well,
				"ciliuml2announcementpolicies.cilium.io": well, "ciliumloadbalancerippools.cilium.io": well,
			}}
			if !tt.gone {
				live.labels["ciliumnodes.cilium.io"] = tt.nodes
			}
			got := ""
			if err := Check(t.Context(), live); err != nil {
				got = err.Error()
			}
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("err = %q, want one about %q", got, tt.want)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ciliate-io/ciliate/api/applyconfiguration"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/config"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/test/build"
)

// crds are those of this repository, with the label of their schema, or another label.
func crds(label string) []client.Object {
	var out []client.Object
	for _, name := range []string{
		"ciliumconfigs", "ciliumendpoints", "ciliumidentities", "ciliuml2announcementpolicies", "ciliumloadbalancerippools", "ciliumnodes",
	} {
		crd := &metav1.PartialObjectMetadata{}
		crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		crd.Name, crd.Labels = name+".cilium.io", map[string]string{label: fmt.Sprint(v1alpha1.SchemaVersion)}
		out = append(out, crd)
	}
	return out
}

func newClient(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	scheme.AddKnownTypeWithName(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
		&metav1.PartialObjectMetadata{})
	return fakeclient.NewClientBuilder().WithScheme(scheme).WithTypeConverters(applyconfiguration.NewTypeConverter(scheme)).
		WithStatusSubresource(&v1alpha1.CiliumNode{}).WithObjects(objects...).Build()
}

func usable() *v1alpha1.CiliumConfig {
	c := build.Config(24, "10.0.0.0/16")
	c.Status.IdentityFilter = &v1alpha1.IdentityFilter{Version: 1, ClusterName: "default"}
	return c
}

func TestUsableConfig(t *testing.T) {
	unpublished := usable()
	unpublished.Status.IdentityFilter = nil
	tests := map[string]struct {
		objects []client.Object
		want    string
	}{
		"all is there":         {objects: append(crds(v1alpha1.SchemaLabel), usable())},
		"no CRDs":              {want: "get the CRD ciliumconfigs.cilium.io"},
		"Cilium's CRDs":        {objects: append(crds("io.cilium.k8s.crd.schema.version"), usable()), want: "is Cilium installed"},
		"no configuration":     {objects: crds(v1alpha1.SchemaLabel), want: "does not exist yet: the operator makes it"},
		"no filter in it, yet": {objects: append(crds(v1alpha1.SchemaLabel), unpublished), want: "has no identity filter yet"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			found, reason := usableConfig(t.Context(), newClient(t, tt.objects...))
			if !strings.Contains(reason, tt.want) || (reason == "") != (tt.want == "") || (found == nil) != (tt.want != "") {
				t.Errorf("reason %q, configuration %v; want a reason about %q", reason, found, tt.want)
			}
		})
	}
}

func TestWaitForConfig(t *testing.T) {
	c := newClient(t, crds(v1alpha1.SchemaLabel)...)
	var reasons []string
	got, err := WaitForConfig(t.Context(), c, func(reason string) {
		if reasons = append(reasons, reason); len(reasons) == 1 {
			if err := c.Create(t.Context(), usable()); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || got == nil || len(reasons) != 1 {
		t.Errorf("got %v, %v after %q", got, err, reasons)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WaitForConfig(ctx, newClient(t), func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v when it is told to stop", err)
	}
}

func TestReportFailure(t *testing.T) {
	tests := map[string]struct {
		failure error
		want    string
	}{
		"a kernel without a feature": {failure: fmt.Errorf("load: %w", &loader.ErrUnsupported{}), want: v1alpha1.ReasonKernelUnsupported},
		"the port":                   {failure: fmt.Errorf("tunnel: %w", dp.ErrTunnelPortInUse), want: v1alpha1.ReasonTunnelPortInUse},
		"anything else":              {failure: errors.New("busy"), want: v1alpha1.ReasonDatapathError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, build.CiliumNode("n1"))
			if err := ReportFailure(t.Context(), c, "n1", tt.failure); err != nil {
				t.Fatal(err)
			}
			node := &v1alpha1.CiliumNode{}
			if err := c.Get(t.Context(), types.NamespacedName{Name: "n1"}, node); err != nil {
				t.Fatal(err)
			}
			ready := meta.FindStatusCondition(node.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != tt.want || ready.Message != tt.failure.Error() {
				t.Errorf("Ready is %v, want %s", ready, tt.want)
			}
		})
	}
	if err := ReportFailure(t.Context(), newClient(t), "n1", errors.New("busy")); err != nil {
		t.Errorf("a node that is not there yet: %v", err)
	}
}

func TestDatapathConfig(t *testing.T) {
	c := usable()
	c.Spec.RoutingMode, c.Spec.HostForwarding, c.Spec.TunnelPort = v1alpha1.RoutingNative, v1alpha1.ForwardingStack, 4789
	c.Spec.LoadBalancer.Mode = v1alpha1.LoadBalancerDSR
	want := dp.Config{Native: true, StackForwarding: true, DirectReturn: true, TunnelPort: 4789, BPFFS: "/bpf", ProcSysNet: "/proc"}
	if diff := cmp.Diff(want, DatapathConfig(c, config.Agent{BPFFS: "/bpf", ProcSysNet: "/proc"})); diff != "" {
		t.Errorf("datapath (-want +got):\n%s", diff)
	}
	if got := DatapathConfig(usable(), config.Agent{}); got.Native || got.StackForwarding || got.DirectReturn {
		t.Errorf("the default is %v, want the tunnel, no stack, and answers by the node that was asked", got)
	}
}

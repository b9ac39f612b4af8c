// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package ipam

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/ciliate-io/ciliate/api/applyconfiguration"
	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/ipam"
	"github.com/ciliate-io/ciliate/test/build"
)

func configured(t *testing.T, maskSize int32, cidrs ...string) *pools {
	t.Helper()
	p := &pools{byFamily: map[ipam.Family]*ipam.ClusterPool{}}
	if err := p.configure(&build.Config(maskSize, cidrs...).Spec.IPAM); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPoolsAssign(t *testing.T) {
	tests := map[string]struct {
		pools      []string
		others     []*v1alpha1.CiliumNode
		node       *v1alpha1.CiliumNode
		want       []string
		wantReason string
	}{
		"the first": {
			pools: []string{"10.77.0.0/16"}, node: build.CiliumNode("n1"), want: []string{"10.77.0.0/28"},
		},
		"beside another's": {
			pools: []string{"10.77.0.0/16"}, others: []*v1alpha1.CiliumNode{build.CiliumNode("n0", "10.77.0.0/28")},
			node: build.CiliumNode("n1"), want: []string{"10.77.0.16/28"},
		},
		"what it has it keeps, inside of the pools or not": {
			pools: []string{"10.77.0.0/16"}, node: build.CiliumNode("n1", "10.99.0.0/24"), want: []string{"10.99.0.0/24"},
		},
		"a family that was added later": {
			pools: []string{"10.77.0.0/16", "fd00::/26"}, node: build.CiliumNode("n1", "10.77.5.0/28"),
			want: []string{"10.77.5.0/28", "fd00::/28"},
		},
		"one family is exhausted, so it gets neither": {
			pools: []string{"10.77.0.0/16", "fd00::/28"}, others: []*v1alpha1.CiliumNode{build.CiliumNode("n0", "fd00::/28")},
			node: build.CiliumNode("n1"), wantReason: v1alpha1.ReasonPoolExhausted,
		},
		"it has what another has": {
			pools: []string{"10.77.0.0/16"}, others: []*v1alpha1.CiliumNode{build.CiliumNode("n0", "10.77.0.0/28")},
			node: build.CiliumNode("n1", "10.77.0.0/24"), wantReason: v1alpha1.ReasonOverlap,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := configured(t, 28, tt.pools...)
			for _, other := range tt.others {
				if err := p.adopt(other); err != nil {
					t.Fatal(err)
				}
			}
			got, refused := p.assign(tt.node)
			reason := ""
			if refused != nil {
				reason = refused.reason
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || reason != tt.wantReason {
				t.Errorf("reason %q, want %q; ranges (-want +got):\n%s", reason, tt.wantReason, diff)
			}
		})
	}
}

func TestRangeIsInferredFromEndpoints(t *testing.T) {
	p := configured(t, 24, "10.77.0.0/16")
	if err := p.adopt(build.CiliumNode("n0", "10.77.1.0/24")); err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"10.77.0.9", "10.77.1.9", "192.0.2.9"} {
		p.infer(build.Endpoint("ns/p").OnNode("lost").Address(v1alpha1.IPv4, ip, "10.77.0.1").Obj())
	}
	if got, _ := p.assign(build.CiliumNode("lost")); !cmp.Equal(got, []string{"10.77.0.0/24"}) {
		t.Errorf("the node gets %v, want the range of its endpoints that no other node has", got)
	}
}

func TestContradiction(t *testing.T) {
	nodes := []corev1.Node{
		*build.Node("n1").Address("192.0.2.1").PodCIDRs("10.88.1.0/24").Obj(),
		*build.Node("n2").Address("10.88.9.9").PodCIDRs("10.88.2.0/24", "what").Obj(),
	}
	tests := map[string]struct {
		ranges []string
		want   string
	}{
		"its own range":      {ranges: []string{"10.88.1.0/24"}},
		"another's range":    {ranges: []string{"10.88.2.128/25"}, want: "overlaps 10.88.2.0/24 of node n2"},
		"a node's address":   {ranges: []string{"10.88.9.0/24"}, want: "contains the address 10.88.9.9 of node n2"},
		"two that overlap":   {ranges: []string{"10.88.3.0/24", "10.88.3.0/25"}, want: "overlaps"},
		"both families well": {ranges: []string{"10.88.1.0/24", "fd00:88::/64"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ranges, err := translate.Prefixes(tt.ranges)
			if err != nil {
				t.Fatal(err)
			}
			got := contradiction("n1", ranges, nodes)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("contradiction = %q, want one about %q", got, tt.want)
			}
		})
	}
}

// faulty is a client whose first apply fails.
func faulty(t *testing.T, fault error, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	failed := false
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.CiliumNode{}, &v1alpha1.CiliumConfig{}).
		WithTypeConverters(applyconfiguration.NewTypeConverter(scheme)).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(
				ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption,
			) error {
				if !failed {
					failed = true
					return fault
				}
				return c.Apply(ctx, obj, opts...)
			},
		}).Build()
}

// TestUnknownOutcome: whatever becomes of the first write, the next try gives the same range.
func TestUnknownOutcome(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "ciliumnodes"}, "n1", nil)
	tests := map[string]struct {
		fault   error
		wantErr bool
	}{
		"a conflict is another try, no error": {fault: conflict},
		"a time-out is an error":              {fault: context.DeadlineExceeded, wantErr: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := build.Config(24, "10.77.0.0/16")
			cfg.Status.Conditions = []metav1.Condition{{
				Type: v1alpha1.ConditionValid, Status: metav1.ConditionTrue, ObservedGeneration: cfg.Generation,
			}}
			c := faulty(t, tt.fault, cfg, build.CiliumNode("n1"), build.Node("n1").Obj())
			r := New(c, c, events.NewFakeRecorder(10), func() time.Time { return time.Unix(1, 0) })
			req := ctrl.Request{NamespacedName: client.ObjectKey{Name: "n1"}}
			result, err := r.Reconcile(t.Context(), req)
			if (err != nil) != tt.wantErr || (result.RequeueAfter > 0) == tt.wantErr {
				t.Errorf("result %+v, err %v; want an error: %v", result, err, tt.wantErr)
			}
			if _, err := r.Reconcile(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			got := build.CiliumNode("n1")
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(got), got); err != nil {
				t.Fatal(err)
			}
			if !cmp.Equal(got.Spec.IPAM.PodCIDRs, []string{"10.77.0.0/24"}) {
				t.Errorf("ranges = %v, want the first", got.Spec.IPAM.PodCIDRs)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package operator

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/test/build"
)

func TestClusterMetrics(t *testing.T) {
	retired := build.Identity("1003", "app", "old")
	retired.Status.RetiredAt = new(metav1.Now())
	senseless := build.Config(26, "10.0.0.0/24")
	senseless.Spec.IPAM.IPv4.MaskSize = 8
	dual := build.Config(26, "10.0.0.0/24", "10.0.2.0/25")
	dual.Spec.IPAM.IPv6 = &v1alpha1.ClusterPool{CIDRs: []string{"fd00::/56"}, MaskSize: 64}
	nothing := map[string]float64{
		"ciliate_identities in-force": 0, "ciliate_identities retired": 0, "ciliate_identities_capacity": 65280,
		"ciliate_pool_ranges IPv4": 0, "ciliate_pool_ranges IPv6": 0,
	}
	cases := map[string]struct {
		objects []client.Object
		want    map[string]float64
	}{
		"an empty cluster":         {want: nothing},
		"ranges of somebody else":  {objects: []client.Object{build.Config(0)}, want: nothing},
		"pools that make no sense": {objects: []client.Object{senseless}, want: nothing},
		"a cluster in use": {
			objects: []client.Object{
				dual, build.Identity("1001", "app", "a"), build.Identity("1002", "app", "b"), retired,
				build.CiliumNode("n1", "10.0.0.0/26", "fd00::/64"), build.CiliumNode("n2", "10.0.0.64/26"), build.CiliumNode("n3"),
			},
			want: map[string]float64{
				"ciliate_identities in-force": 2, "ciliate_identities retired": 1, "ciliate_identities_capacity": 65280,
				"ciliate_pool_ranges IPv4": 2, "ciliate_pool_ranges IPv6": 1,
				"ciliate_pool_ranges_capacity IPv4": 6, "ciliate_pool_ranges_capacity IPv6": 256,
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			scheme, err := Scheme()
			if err != nil {
				t.Fatal(err)
			}
			m := &clusterMetrics{cache: fake.NewClientBuilder().WithScheme(scheme).WithObjects(tc.objects...).Build()}
			if diff := cmp.Diff(tc.want, gathered(t, m)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// gathered are the values of a collector's metrics, by their names and the values of their labels.
func gathered(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			values[name] = metric.GetGauge().GetValue()
		}
	}
	return values
}

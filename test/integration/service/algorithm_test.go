// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package service

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/internal/service"
	"github.com/ciliate-io/ciliate/internal/service/translate"
)

// TestAlgorithm: the configuration, or a Service's own annotation, decides who has a Maglev table; both may change.
func TestAlgorithm(t *testing.T) {
	c := start(t)
	c.configure(t, "")
	for i := range 3 {
		c.create(t, i, 3)
		c.changeService(t, i, func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeNodePort })
	}
	c.create(t, 3, 3) // nobody outside asks for it
	c.describeNode(t)
	must(t, c.reconciler.Sync(t.Context()))

	says := func(number int, algorithm string) {
		c.changeService(t, number, func(svc *corev1.Service) {
			metav1.SetMetaDataAnnotation(&svc.ObjectMeta, translate.AlgorithmAnnotation, algorithm)
		})
	}
	for _, step := range []struct {
		name string
		deed func()
		want []string
	}{
		{"random by default", func() {}, nil},
		{"one says Maglev", func() { says(0, "maglev") }, []string{"svc-0"}},
		{"the configuration says Maglev", func() { c.configure(t, v1alpha1.AlgorithmMaglev) }, []string{"svc-0", "svc-1", "svc-2"}},
		{"one says random", func() { says(1, "random") }, []string{"svc-0", "svc-2"}},
		{"one says nothing that there is", func() { says(2, "roulette") }, []string{"svc-0", "svc-2"}},
		{"a backend goes", func() { c.change(t, 0, func(s *discoveryv1.EndpointSlice) { s.Endpoints = s.Endpoints[1:] }) }, []string{"svc-0", "svc-2"}},
		{"one backend is left", func() { c.change(t, 0, func(s *discoveryv1.EndpointSlice) { s.Endpoints = s.Endpoints[1:] }) }, []string{"svc-2"}},
		{"the configuration says random", func() { c.configure(t, v1alpha1.AlgorithmRandom) }, nil},
		{"one says Maglev again", func() { says(2, "maglev") }, []string{"svc-2"}},
	} {
		step.deed()
		eventually(t, step.name, patience, func() string { return cmp.Diff(step.want, c.balanced(t)) })
	}
	c.datapath.written()
	must(t, c.newReconciler().Sync(t.Context()))
	if put, deleted, calls := c.datapath.written(); calls > 0 {
		t.Errorf("a restart puts %d entries and deletes %d", put, deleted)
	}
}

// configure makes or changes the CiliumConfig.
func (c *cluster) configure(t *testing.T, algorithm v1alpha1.LoadBalancerAlgorithm) {
	t.Helper()
	cfg := &v1alpha1.CiliumConfig{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.ConfigName}}
	err := c.client.Get(t.Context(), client.ObjectKeyFromObject(cfg), cfg)
	cfg.Spec.LoadBalancer.Algorithm = algorithm
	if err == nil {
		must(t, c.client.Update(t.Context(), cfg))
		return
	}
	must(t, client.IgnoreNotFound(err))
	cfg.Spec.IPAM.Mode = v1alpha1.IPAMKubernetes
	must(t, c.client.Create(t.Context(), cfg))
}

// describeNode gives the node an address for node ports.
func (c *cluster) describeNode(t *testing.T) {
	t.Helper()
	node := &v1alpha1.CiliumNode{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	node.Spec.Addresses = []v1alpha1.NodeAddress{{Type: "InternalIP", IP: "172.18.0.11"}}
	must(t, c.client.Create(t.Context(), node))
}

func (c *cluster) changeService(t *testing.T, number int, change func(*corev1.Service)) {
	t.Helper()
	svc := &corev1.Service{}
	must(t, c.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: fmt.Sprint("svc-", number)}, svc))
	change(svc)
	must(t, c.client.Update(t.Context(), svc))
}

// balanced are the Services whose node port has a Maglev table that is made of its backends, in order.
func (c *cluster) balanced(t *testing.T) []string {
	t.Helper()
	state, err := c.datapath.Services()
	must(t, err)
	list := &corev1.ServiceList{}
	must(t, c.client.List(t.Context(), list))
	var out []string
	for _, svc := range list.Items {
		for frontend, entry := range state.Frontends {
			ring := service.Ring{Protocol: service.TCP}
			for i := range entry.Count {
				ring.Slots = append(ring.Slots, state.Backends[service.Slot{ID: entry.ID, Index: i}])
			}
			ours := int32(frontend.Addr.Port()) == svc.Spec.Ports[0].NodePort && frontend.Scope == service.OfWorld
			if ours && entry.Maglev && state.Rings[entry.ID] == ring.Sum() {
				out = append(out, svc.Name)
			}
		}
	}
	slices.Sort(out)
	if len(state.Rings) != len(out) {
		return append(out, fmt.Sprintf("and %d tables in all", len(state.Rings)))
	}
	return out
}

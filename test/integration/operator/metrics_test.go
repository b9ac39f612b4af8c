// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package operator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/test/build"
)

// TestMetrics: the leader tells what the cluster has given out. The other replica would say the same, to be added up.
func TestMetrics(t *testing.T) {
	c := newCluster(t)
	c.check(client.IgnoreNotFound(c.Delete(t.Context(), c.lease())))
	c.make(build.Config(24, "10.77.0.0/22"), build.Node("n1").Address("192.0.2.1").Obj(), build.Node("n2").Address("192.0.2.2").Obj())
	c.pod(build.Pod(c.name("a")).Label("app", "a"))
	c.pod(build.Pod(c.name("b")).Label("app", "b"))
	c.operator(elected)
	c.eventually("the leader counts", c.wantMetrics(map[string]float64{
		"ciliate_endpoints_released_total": 0,
		"ciliate_identities in-force":      2, "ciliate_identities retired": 0, "ciliate_identities_capacity": 65280,
		"ciliate_pool_ranges IPv4": 2, "ciliate_pool_ranges IPv6": 0, "ciliate_pool_ranges_capacity IPv4": 4,
	}))
	c.operator(elected)
	c.always("the other counts nothing", c.wantMetrics(map[string]float64{}))
}

// wantMetrics is a check that the operator's own metrics are these, by their names and the values of their labels.
func (c *cluster) wantMetrics(want map[string]float64) func() error {
	return func() error {
		have, err := c.gather()
		if diff := cmp.Diff(want, have); err == nil && diff != "" {
			return fmt.Errorf("-want +got\n%s", diff)
		}
		return err
	}
}

// metric checks one of them.
func (c *cluster) metric(name string, want float64) error {
	have, err := c.gather()
	if err == nil && have[name] != want {
		return fmt.Errorf("%s is %g, want %g", name, have[name], want)
	}
	return err
}

func (c *cluster) gather() (map[string]float64, error) {
	families, err := c.metrics.Gather()
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := []string{family.GetName()}
			for _, label := range metric.GetLabel() {
				name = append(name, label.GetValue())
			}
			values[strings.Join(name, " ")] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return values, nil
}

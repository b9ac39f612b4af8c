// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package operator

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
	"github.com/ciliate-io/ciliate/controllers/operator/internal/translate"
	"github.com/ciliate-io/ciliate/internal/identity"
	"github.com/ciliate-io/ciliate/internal/ipam"
)

// collectTimeout bounds the reading of the cache, which answers at once unless it has not been filled yet.
const collectTimeout = 5 * time.Second

// clusterMetrics counts what the cluster has given out, in the cache and when it is asked for. Only the leader has them:
// replicas that say the same would be added up.
type clusterMetrics struct {
	cache client.Reader
}

func (m *clusterMetrics) desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ciliate_"+name, help, labels, nil)
}

func (m *clusterMetrics) identities() *prometheus.Desc {
	return m.desc("identities", "Identities that have a number, by state: in-force, or retired and soon to be deleted", "state")
}

func (m *clusterMetrics) identityNumbers() *prometheus.Desc {
	return m.desc("identities_capacity", "Numbers that identities can have")
}

func (m *clusterMetrics) ranges() *prometheus.Desc {
	return m.desc("pool_ranges", "Ranges of pod addresses that nodes have, by address family", "family")
}

func (m *clusterMetrics) capacity() *prometheus.Desc {
	return m.desc("pool_ranges_capacity", "Ranges that the pools of CiliumConfig hold, by address family", "family")
}

// Describe implements prometheus.Collector.
func (m *clusterMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.identities(), m.identityNumbers(), m.ranges(), m.capacity()} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *clusterMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	if err := m.collectIdentities(ctx, ch); err != nil {
		ch <- prometheus.NewInvalidMetric(m.identities(), err)
	}
	if err := m.collectRanges(ctx, ch); err != nil {
		ch <- prometheus.NewInvalidMetric(m.ranges(), err)
	}
	if err := m.collectCapacity(ctx, ch); err != nil {
		ch <- prometheus.NewInvalidMetric(m.capacity(), err)
	}
}

func (m *clusterMetrics) collectIdentities(ctx context.Context, ch chan<- prometheus.Metric) error {
	var list v1alpha1.CiliumIdentityList
	if err := m.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("count the identities: %w", err)
	}
	retired := 0
	for i := range list.Items {
		if list.Items[i].Status.RetiredAt != nil {
			retired++
		}
	}
	ch <- gauge(m.identities(), len(list.Items)-retired, "in-force")
	ch <- gauge(m.identities(), retired, "retired")
	ch <- gauge(m.identityNumbers(), identity.Allocatable)
	return nil
}

func (m *clusterMetrics) collectRanges(ctx context.Context, ch chan<- prometheus.Metric) error {
	var nodes v1alpha1.CiliumNodeList
	if err := m.cache.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("count the ranges of nodes: %w", err)
	}
	count := map[ipam.Family]int{ipam.IPv4: 0, ipam.IPv6: 0}
	for i := range nodes.Items {
		for _, cidr := range nodes.Items[i].Spec.IPAM.PodCIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				count[ipam.FamilyOf(p.Addr())]++
			}
		}
	}
	for family, n := range count {
		ch <- gauge(m.ranges(), n, family.String())
	}
	return nil
}

// collectCapacity tells nothing of pools that are not there, since in the mode kubernetes somebody else has them, or that
// make no sense: the condition Valid says why, and an error here would hide all other metrics.
func (m *clusterMetrics) collectCapacity(ctx context.Context, ch chan<- prometheus.Metric) error {
	cfg := &v1alpha1.CiliumConfig{}
	if err := m.cache.Get(ctx, client.ObjectKey{Name: v1alpha1.ConfigName}, cfg); err != nil {
		return client.IgnoreNotFound(err)
	}
	spec := cfg.Spec.IPAM
	if spec.Mode != v1alpha1.IPAMClusterPool {
		return nil
	}
	for family, pool := range map[ipam.Family]*v1alpha1.ClusterPool{ipam.IPv4: spec.IPv4, ipam.IPv6: spec.IPv6} {
		if pool == nil {
			continue
		}
		if ranges, ok := capacityOf(pool); ok {
			ch <- prometheus.MustNewConstMetric(m.capacity(), prometheus.GaugeValue, ranges, family.String())
		}
	}
	return nil
}

func capacityOf(spec *v1alpha1.ClusterPool) (ranges float64, ok bool) {
	cidrs, err := translate.Prefixes(spec.CIDRs)
	if err != nil {
		return 0, false
	}
	pool, err := ipam.NewClusterPool(cidrs, int(spec.MaskSize))
	if err != nil {
		return 0, false
	}
	return float64(pool.Capacity()), true
}

func gauge(desc *prometheus.Desc, value int, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
}

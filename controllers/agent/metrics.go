// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// registerMetrics adds the agent's own metrics to controller-runtime's registry.
func (s *Start) registerMetrics(d Datapath) error {
	if err := s.endpoints.RegisterMetrics(metrics.Registry); err != nil {
		return err
	}
	if err := s.services.RegisterMetrics(metrics.Registry); err != nil {
		return err
	}
	if err := s.announcements.RegisterMetrics(metrics.Registry); err != nil {
		return err
	}
	return metrics.Registry.Register(&kernelMetrics{datapath: d})
}

// kernelMetrics reads the kernel's counters and the fill of the maps when they are asked for.
type kernelMetrics struct {
	datapath Datapath
}

func (m *kernelMetrics) desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ciliate_"+name, help, labels, nil)
}

func (m *kernelMetrics) packets() *prometheus.Desc {
	return m.desc("datapath_packets_total", "Packets by reason (forwarded, or why dropped) and direction", "reason", "direction")
}

func (m *kernelMetrics) bytes() *prometheus.Desc {
	return m.desc("datapath_bytes_total", "Bytes of packets by reason (forwarded, or why dropped) and direction", "reason", "direction")
}

func (m *kernelMetrics) entries() *prometheus.Desc {
	return m.desc("map_entries", "Entries of an eBPF map", "map")
}

func (m *kernelMetrics) capacity() *prometheus.Desc {
	return m.desc("map_capacity", "Entries that fit into an eBPF map", "map")
}

// Describe implements prometheus.Collector.
func (m *kernelMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.packets(), m.bytes(), m.entries(), m.capacity()} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *kernelMetrics) Collect(ch chan<- prometheus.Metric) {
	counts, err := m.datapath.Counts()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(m.packets(), err)
	}
	for _, c := range counts {
		ch <- prometheus.MustNewConstMetric(m.packets(), prometheus.CounterValue, float64(c.Packets), c.Reason, c.Direction)
		ch <- prometheus.MustNewConstMetric(m.bytes(), prometheus.CounterValue, float64(c.Bytes), c.Reason, c.Direction)
	}
	usage, err := m.datapath.MapUsage()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(m.entries(), err)
	}
	for _, u := range usage {
		ch <- prometheus.MustNewConstMetric(m.entries(), prometheus.GaugeValue, float64(u.Entries), u.Name)
		ch <- prometheus.MustNewConstMetric(m.capacity(), prometheus.GaugeValue, float64(u.MaxEntries), u.Name)
	}
}

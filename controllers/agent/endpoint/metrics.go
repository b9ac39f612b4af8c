// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import "github.com/prometheus/client_golang/prometheus"

// newPhaseSeconds is how long each phase of attaching an endpoint took. The buckets reach from a map update (tens of
// microseconds) to a kernel under a burst (a second).
func newPhaseSeconds() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "ciliate_endpoint_phase_duration_seconds",
		Help:    "Time that a phase of attaching an endpoint took",
		Buckets: prometheus.ExponentialBuckets(0.00005, 4, 8),
	}, []string{"phase"})
}

// RegisterMetrics adds the reconciler's metrics to a registry.
func (r *Reconciler) RegisterMetrics(registry prometheus.Registerer) error {
	served := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ciliate_endpoints", Help: "Endpoints that the agent serves",
	}, func() float64 { return float64(r.Attached()) })
	for _, c := range []prometheus.Collector{r.phaseSeconds, served} {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// phaseSeconds is how long each phase of attaching an endpoint took. The buckets reach from a map update (tens of
// microseconds) to a kernel under a burst (a second).
var phaseSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Name:    "ciliate_endpoint_phase_duration_seconds",
	Help:    "Time that a phase of attaching an endpoint took",
	Buckets: prometheus.ExponentialBuckets(0.00005, 4, 8),
}, []string{"phase"})

// RegisterMetrics adds the package's metrics to controller-runtime's registry; attached counts the endpoints.
func RegisterMetrics(attached func() int) error {
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ciliate_endpoints", Help: "Endpoints that the agent serves",
	}, func() float64 { return float64(attached()) })
	for _, c := range []prometheus.Collector{phaseSeconds, gauge} {
		if err := metrics.Registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

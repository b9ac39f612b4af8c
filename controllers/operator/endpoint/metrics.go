// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import "github.com/prometheus/client_golang/prometheus"

func newReleased() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ciliate_endpoints_released_total",
		Help: "Endpoints that the operator released because their node did not",
	})
}

// RegisterMetrics adds the reconciler's metrics to a registry.
func (r *Reconciler) RegisterMetrics(registry prometheus.Registerer) error {
	return registry.Register(r.released)
}

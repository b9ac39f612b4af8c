// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ciliate-io/ciliate/internal/service"
)

// View is what others may know of the maps of Services.
type View struct {
	// Services have frontends, and so may pods with host ports, which count as such. Backends are their places: a pod behind two ports counts twice.
	Services, Backends int
	// Short are the Services for which there was not enough room, as namespace/name.
	Short []string
}

// view keeps the latest. It is safe for concurrent use.
type view struct {
	mu  sync.Mutex
	now View
}

// set takes over the table's and tells whether other Services are short of room than before.
func (v *view) set(t *service.Table) (changed bool) {
	next := View{Short: t.Short()}
	next.Services, next.Backends = t.Written()
	v.mu.Lock()
	defer v.mu.Unlock()
	changed = !slices.Equal(v.now.Short, next.Short)
	v.now = next
	return changed
}

// View returns what is programmed.
func (r *Reconciler) View() View {
	r.view.mu.Lock()
	defer r.view.mu.Unlock()
	return r.view.now
}

// RegisterMetrics adds the reconciler's metrics.
func (r *Reconciler) RegisterMetrics(registry prometheus.Registerer) error {
	for _, gauge := range []struct {
		name, help string
		value      func(View) int
	}{
		{"services", "Services in the maps", func(v View) int { return v.Services }},
		{"service_backends", "Places of backends in the maps of Services", func(v View) int { return v.Backends }},
		{"services_short", "Services for which the maps have not enough room", func(v View) int { return len(v.Short) }},
	} {
		err := registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ciliate_" + gauge.name, Help: gauge.help},
			func() float64 { return float64(gauge.value(r.View())) }))
		if err != nil {
			return err
		}
	}
	return nil
}

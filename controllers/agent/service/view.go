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
	// Contested are the Services that are not led to at a place of theirs, each with who has it.
	Contested []string
	// Problem is what went wrong with the last change; empty if nothing did.
	Problem string
}

// view keeps the latest. It is safe for concurrent use.
type view struct {
	mu  sync.Mutex
	now View
}

// set takes over the table's, unless it is nil, and the problem; it tells whether there is more than numbers to say.
func (v *view) set(t *service.Table, problem error) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.now
	if t != nil {
		v.now.Services, v.now.Backends = t.Written()
		v.now.Short, v.now.Contested = t.Short(), t.Contested()
	}
	v.now.Problem = ""
	if problem != nil {
		v.now.Problem = problem.Error()
	}
	return was.Problem != v.now.Problem || !slices.Equal(was.Short, v.now.Short) || !slices.Equal(was.Contested, v.now.Contested)
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
		{"services_contested", "Services that lack a place of theirs because another has it", func(v View) int { return len(v.Contested) }},
	} {
		err := registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ciliate_" + gauge.name, Help: gauge.help},
			func() float64 { return float64(gauge.value(r.View())) }))
		if err != nil {
			return err
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	services "github.com/ciliate-io/ciliate/internal/service/translate"
)

// slowest is how long a load balancer may take to ask.
const slowest = 5 * time.Second

// health tells load balancers whether this node has endpoints of a Service, each at a port of its own, in the words of
// kube-proxy. It is safe for concurrent use.
type health struct {
	listen func(port uint16) (net.Listener, error)

	mu      sync.Mutex
	checks  map[types.NamespacedName]services.HealthCheck
	servers map[types.NamespacedName]server
}

type server struct {
	port uint16
	http *http.Server
}

func newHealth() *health {
	return &health{
		listen: func(port uint16) (net.Listener, error) {
			return net.Listen("tcp", ":"+strconv.Itoa(int(port)))
		},
		checks:  map[types.NamespacedName]services.HealthCheck{},
		servers: map[types.NamespacedName]server{},
	}
}

// update takes over some Services: what may be asked of each, or that nothing may. A port that cannot be had is named,
// and tried again with the next change.
func (h *health) update(changes map[types.NamespacedName]*services.HealthCheck) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, check := range changes {
		if delete(h.checks, name); check != nil {
			h.checks[name] = *check
		}
	}
	for name, s := range h.servers {
		if check, wanted := h.checks[name]; !wanted || check.Port != s.port {
			_ = s.http.Close() // whoever asks at this moment asks again
			delete(h.servers, name)
		}
	}
	var errs []error
	for name, check := range h.checks {
		if _, serves := h.servers[name]; serves {
			continue
		}
		listener, err := h.listen(check.Port)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen for health checks of Service %s: %w", name, err))
			continue
		}
		s := &http.Server{Handler: h.handler(name), ReadTimeout: slowest, WriteTimeout: slowest}
		h.servers[name] = server{port: check.Port, http: s}
		go func() { _ = s.Serve(listener) }() // until it is closed
	}
	return errors.Join(errs...)
}

// known are the Services of which something may be asked.
func (h *health) known() []types.NamespacedName {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []types.NamespacedName
	for name := range h.checks {
		names = append(names, name)
	}
	return names
}

// handler answers as kube-proxy does: 200 where there are endpoints, 503 where there are none.
func (h *health) handler(name types.NamespacedName) http.Handler {
	type object struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		local := h.checks[name].Local
		h.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
		if local == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(struct {
			Service             object `json:"service"`
			LocalEndpoints      int    `json:"localEndpoints"`
			ServiceProxyHealthy bool   `json:"serviceProxyHealthy"`
		}{object(name), local, true}) // who does not read to the end asks again
	})
}

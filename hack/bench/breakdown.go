// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

// sighting is when somebody who watches saw an endpoint.
type sighting struct {
	created, ready time.Time
}

// watcher sees endpoints come and get ready, at the same time as the agent and the plugin do.
type watcher struct {
	mu    sync.Mutex
	seen  map[string]sighting
	ready int
	watch watch.Interface
}

func (c *cluster) watchEndpoints(ctx context.Context) (*watcher, error) {
	w := &watcher{seen: map[string]sighting{}}
	var err error
	w.watch, err = c.client.Watch(ctx, &v1alpha1.CiliumEndpointList{}, client.InNamespace(namespace))
	if err != nil {
		return nil, fmt.Errorf("watch endpoints: %w", err)
	}
	go func() {
		for event := range w.watch.ResultChan() {
			if cep, ok := event.Object.(*v1alpha1.CiliumEndpoint); ok {
				w.see(cep, time.Now())
			}
		}
	}()
	return w, nil
}

func (w *watcher) see(cep *v1alpha1.CiliumEndpoint, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, known := w.seen[cep.Name]
	if !known {
		s.created = now
	}
	if s.ready.IsZero() && isReady(cep) {
		s.ready = now
		w.ready++
	}
	w.seen[cep.Name] = s
}

// stop waits a moment for the last of n and returns what was seen.
func (w *watcher) stop(n int) map[string]sighting {
	defer w.watch.Stop()
	for deadline := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		if w.ready >= n || time.Now().After(deadline) {
			defer w.mu.Unlock()
			return w.seen
		}
		w.mu.Unlock()
	}
}

// phases are the mean times of the agent's phases, in their order.
type phases struct {
	names []string
	mean  map[string]time.Duration
	sum   time.Duration
}

// metrics are the agent's, from the node itself: values by name and labels, as in the text.
func (c *cluster) metrics(ctx context.Context) (map[string]float64, error) {
	text, err := c.script(ctx, nil, "exec.sh", here, "curl", "-sSf", "http://127.0.0.1:9962/metrics")
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if all[line[:at]], err = strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err != nil {
			return nil, fmt.Errorf("read the agent's metrics: %w", err)
		}
	}
	return all, nil
}

func phasesBetween(before, after map[string]float64) phases {
	p := phases{
		names: []string{"sandbox", "pod", "earlier", "address", "identity", "interface", "policy", "program"},
		mean:  map[string]time.Duration{},
	}
	// Of a phase that ran several times for an endpoint all runs count, so everything is divided by the endpoints served.
	served := after["ciliate_endpoints"] - before["ciliate_endpoints"]
	each := func(histogram, labels string) time.Duration {
		key := histogram + "_sum{" + labels + "}"
		return time.Duration((after[key] - before[key]) / max(1, served) * float64(time.Second))
	}
	for _, name := range p.names {
		p.mean[name] = each("ciliate_endpoint_phase_duration_seconds", fmt.Sprintf("phase=%q", name))
		p.sum += p.mean[name]
	}
	return p
}

// breakdown is where the time of an ADD goes.
func (l life) breakdown(floor time.Duration) [][]string {
	var create, agent, end, whole, cpu []time.Duration
	for _, d := range l.add {
		s, ok := l.seen[d.Pod]
		if !ok || s.ready.IsZero() {
			continue
		}
		create = append(create, s.created.Sub(d.Start))
		agent = append(agent, s.ready.Sub(s.created))
		end = append(end, d.End.Sub(s.ready))
		whole = append(whole, d.took())
		cpu = append(cpu, d.CPU)
	}
	middle := median[time.Duration]
	if l.atOnce {
		middle = mean
	}
	rows := [][]string{
		{"executing a plugin that does nothing (`VERSION`)", number(floor)},
		{"kubeconfig, TLS, create, until a watcher sees the object", number(middle(create) - floor)},
		{"agent: from there until a watcher sees Ready", number(middle(agent))},
	}
	for _, name := range l.phases.names {
		rows = append(rows, []string{"&emsp;phase " + name, number(l.phases.mean[name])})
	}
	return append(rows,
		[]string{"&emsp;waiting for a worker, status write, watches (the rest)", number(middle(agent) - l.phases.sum)},
		[]string{"the plugin sees it, prints the result, ends", number(middle(end))},
		[]string{"all", number(middle(whole))},
		[]string{"processor time of the plugin alone", number(mean(cpu))})
}

func mean(all []time.Duration) time.Duration {
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(max(1, len(all)))
}

func number(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

// loadAverage is that of the last minute: others may have been at work.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

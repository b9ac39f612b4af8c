// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ciliate-io/ciliate/api/v1alpha1"
)

const (
	// single is how many ADDs follow one another, burst how many come at once, bursts how often they do.
	single, burst, bursts = 60, 50, 9

	aimAdd   = 20 * time.Millisecond
	aimBurst = 400 * time.Millisecond
	aimDel   = 10 * time.Millisecond
)

// measureAdd executes the CNI plugin of a node for Pods that the node's kubelet, which is stopped, does not know. Who watches
// what 50 ADDs at once do takes a part of the processors himself, so that is a burst of its own.
func measureAdd(ctx context.Context, c *cluster, s *section) error {
	return c.withoutKubelet(ctx, func() error {
		alone, err := c.addAndDelete(ctx, batch{app: "alone", n: single, watched: true})
		if err != nil {
			return err
		}
		var together []life
		for range bursts {
			l, err := c.addAndDelete(ctx, batch{app: "together", n: burst, atOnce: true})
			if err != nil {
				return err
			}
			together = append(together, l)
		}
		watched, err := c.addAndDelete(ctx, batch{app: "watched", n: burst, atOnce: true, watched: true})
		if err != nil {
			return err
		}
		floor, err := c.floor(ctx)
		if err != nil {
			return err
		}
		sayAdd(s, alone, together)
		s.say("Where the time of one ADD goes (medians of the %d one at a time; the agent's phases are means, from its metric", single)
		s.say("`ciliate_endpoint_phase_duration_seconds`):")
		s.table(append([][]string{{"step", "ms"}}, alone.breakdown(floor)...)...)
		s.say("Of %d more at once, from the first start to the last end, the same steps (means; who watches takes time as well):", burst)
		s.table(append([][]string{{"step", "ms"}}, watched.breakdown(floor)...)...)
		s.say("Who works for it, as the kernel counts processor time: a process of the control plane has its name alone.")
		s.say("")
		sayConsumers(s, alone, together)
		return nil
	})
}

func sayAdd(s *section, alone life, together []life) {
	add, del := times(alone.add), times(alone.del)
	var all, allDel, last, lastDel []time.Duration
	for _, l := range together {
		all, allDel = append(all, times(l.add)...), append(allDel, times(l.del)...)
		last, lastDel = append(last, span(l.add)), append(lastDel, span(l.del))
	}
	s.table(
		[]string{"what", "n", "p50", "p95", "p99", "last done", "aim", "", "Cilium"},
		[]string{"ADD, one at a time", fmt.Sprint(len(add)), ms(median(add)), ms(quantile(add, 0.95)), ms(quantile(add, 0.99)),
			"", "p50 ≤ 20 ms", verdict(median(add) <= aimAdd), "p50 158 ms, p95 177 ms"},
		[]string{fmt.Sprintf("ADD, %d at once", burst), fmt.Sprint(len(all)), ms(median(all)), ms(quantile(all, 0.95)), ms(quantile(all, 0.99)),
			spread(last), "last ≤ 400 ms", verdict(median(last) <= aimBurst), ""},
		[]string{"DEL, one at a time", fmt.Sprint(len(del)), ms(median(del)), ms(quantile(del, 0.95)), ms(quantile(del, 0.99)),
			"", "p50 ≤ 10 ms", verdict(median(del) <= aimDel), "p50 50 ms, p95 62 ms"},
		[]string{fmt.Sprintf("DEL, %d at once", burst), fmt.Sprint(len(allDel)), ms(median(allDel)), ms(quantile(allDel, 0.95)), ms(quantile(allDel, 0.99)),
			spread(lastDel), "", "", ""},
	)
	s.say("Time of the executed `/opt/cni/bin/cilium-cni`, from before its start until after its end; the sandbox's network namespace is")
	s.say("there before. \"Last done\" is the median of %d times %d, and the least and the most. Load average of the machine: %s.",
		bursts, burst, loadAverage())
	s.say("")
}

// spread is the median of some times, the least and the most.
func spread(all []time.Duration) string {
	return fmt.Sprintf("%s (%.0f–%.0f)", ms(median(all)), slices.Min(all).Seconds()*1000, slices.Max(all).Seconds()*1000)
}

// batch says how pods are given their network.
type batch struct {
	app             string
	n               int
	atOnce, watched bool
}

// life is a set of pods from ADD to DEL.
type life struct {
	add, del []deed
	seen     map[string]sighting
	phases   phases
	used     consumers // for each ADD
	atOnce   bool
}

// addAndDelete gives pods their network and takes it away again.
func (c *cluster) addAndDelete(ctx context.Context, o batch) (life, error) {
	l := life{atOnce: o.atOnce}
	if err := c.awaitDevicesGone(ctx); err != nil {
		return l, err
	}
	pods, err := c.bind(ctx, here, o.app, o.n)
	if err != nil {
		return l, err
	}
	if o.watched {
		err = c.addWatched(ctx, &l, pods)
	} else {
		err = c.addCounted(ctx, &l, pods)
	}
	if err != nil {
		return l, err
	}
	l.del, err = c.cni(ctx, "DEL", pods, o.atOnce)
	return l, errors.Join(err, c.unbind(ctx, pods))
}

// addWatched sees, beside the plugin, when each endpoint comes and when it gets ready.
func (c *cluster) addWatched(ctx context.Context, l *life, pods []*corev1.Pod) error {
	before, err := c.metrics(ctx)
	if err != nil {
		return err
	}
	watcher, err := c.watchEndpoints(ctx)
	if err != nil {
		return err
	}
	err = c.addCounted(ctx, l, pods)
	l.seen = watcher.stop(len(pods))
	if err != nil {
		return err
	}
	after, err := c.metrics(ctx)
	l.phases = phasesBetween(before, after)
	return err
}

// addCounted sees who works meanwhile.
func (c *cluster) addCounted(ctx context.Context, l *life, pods []*corev1.Pod) error {
	before, err := c.consumers(ctx)
	if err != nil {
		return err
	}
	if l.add, err = c.cni(ctx, "ADD", pods, l.atOnce); err != nil {
		return err
	}
	after, err := c.consumers(ctx)
	if err != nil {
		return err
	}
	l.used = after.since(before, len(pods))
	l.used["cilium-cni"] = meanCPU(l.add)
	return nil
}

// awaitDevicesGone waits until no device is left of the pods before: the kernel takes 20 ms for each, and has a lock for it
// that those who come need as well.
func (c *cluster) awaitDevicesGone(ctx context.Context) error {
	pid, err := c.pid1(ctx, here)
	if err != nil {
		return err
	}
	var endpoints v1alpha1.CiliumEndpointList
	return until(ctx, "the end of the devices of earlier pods", func() (bool, error) {
		if err := c.client.List(ctx, &endpoints, client.MatchingFields{"spec.nodeName": here}); err != nil {
			return false, err
		}
		devices, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
		return strings.Count(string(devices), "lxc") == len(endpoints.Items), err
	})
}

// cni executes a verb for pods of the measured node.
func (c *cluster) cni(ctx context.Context, verb string, pods []*corev1.Pod, atOnce bool) ([]deed, error) {
	o := order{Verb: verb, AtOnce: atOnce}
	for _, pod := range pods {
		o.Sandboxes = append(o.Sandboxes, sandbox{Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID)})
	}
	var deeds []deed
	return deeds, c.inside(ctx, here, "in-node-cni", o, &deeds)
}

// floor is what executing the plugin costs that does nothing.
func (c *cluster) floor(ctx context.Context) (time.Duration, error) {
	o := order{Verb: "VERSION", Sandboxes: make([]sandbox, 30)}
	var deeds []deed
	err := c.inside(ctx, here, "in-node-cni", o, &deeds)
	if err != nil {
		return 0, err
	}
	return median(times(deeds)), nil
}

// withoutKubelet does the deed while the node's kubelet is stopped.
func (c *cluster) withoutKubelet(ctx context.Context, deed func() error) error {
	return c.within(ctx, func() error {
		if err := c.kubelet(ctx, "stop"); err != nil {
			return err
		}
		return errors.Join(deed(), c.kubelet(context.WithoutCancel(ctx), "start"))
	})
}

func meanCPU(deeds []deed) time.Duration {
	all := make([]time.Duration, len(deeds))
	for i, d := range deeds {
		all[i] = d.CPU
	}
	return mean(all)
}

func times(deeds []deed) []time.Duration {
	all := make([]time.Duration, len(deeds))
	for i, d := range deeds {
		all[i] = d.took()
	}
	return all
}

// span is from the first start to the last end.
func span(deeds []deed) time.Duration {
	first, last := deeds[0].Start, deeds[0].End
	for _, d := range deeds {
		if d.Start.Before(first) {
			first = d.Start
		}
		if d.End.After(last) {
			last = d.End
		}
	}
	return last.Sub(first)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

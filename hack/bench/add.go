// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// single is how many ADDs follow one another, burst how many come at once.
	single, burst = 60, 50

	aimAdd   = 20 * time.Millisecond
	aimBurst = 400 * time.Millisecond
	aimDel   = 10 * time.Millisecond
)

// measureAdd executes the CNI plugin of a node for Pods that the node's kubelet, which is stopped, does not know.
func measureAdd(ctx context.Context, c *cluster, s *section) error {
	return c.withoutKubelet(ctx, func() error {
		alone, err := c.addAndDelete(ctx, "alone", single, false)
		if err != nil {
			return err
		}
		together, err := c.addAndDelete(ctx, "together", burst, true)
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
		s.say("Of the %d at once, from the first start to the last end, the same steps (means):", burst)
		s.table(append([][]string{{"step", "ms"}}, together.breakdown(floor)...)...)
		s.say("Who works for it, as the kernel counts processor time: a process of the control plane has its name alone.")
		s.say("")
		sayConsumers(s, alone, together)
		return nil
	})
}

func sayAdd(s *section, alone, together life) {
	add, del := times(alone.add), times(alone.del)
	all, allDel := times(together.add), times(together.del)
	last, lastDel := span(together.add), span(together.del)
	s.table(
		[]string{"what", "n", "p50", "p95", "p99", "last done", "aim", "", "Cilium"},
		[]string{"ADD, one at a time", fmt.Sprint(len(add)), ms(median(add)), ms(quantile(add, 0.95)), ms(quantile(add, 0.99)),
			"", "p50 ≤ 20 ms", verdict(median(add) <= aimAdd), "p50 158 ms, p95 177 ms"},
		[]string{"ADD, all at once", fmt.Sprint(len(all)), ms(median(all)), ms(quantile(all, 0.95)), ms(quantile(all, 0.99)),
			ms(last), "last ≤ 400 ms", verdict(last <= aimBurst), ""},
		[]string{"DEL, one at a time", fmt.Sprint(len(del)), ms(median(del)), ms(quantile(del, 0.95)), ms(quantile(del, 0.99)),
			"", "p50 ≤ 10 ms", verdict(median(del) <= aimDel), "p50 50 ms, p95 62 ms"},
		[]string{"DEL, all at once", fmt.Sprint(len(allDel)), ms(median(allDel)), ms(quantile(allDel, 0.95)), ms(quantile(allDel, 0.99)),
			ms(lastDel), "", "", ""},
	)
	s.say("Time of the executed `/opt/cni/bin/cilium-cni`, from before its start until after its end; the sandbox's network namespace is")
	s.say("there before. Load average of the machine: %s.", loadAverage())
	s.say("")
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
func (c *cluster) addAndDelete(ctx context.Context, app string, n int, atOnce bool) (life, error) {
	l := life{atOnce: atOnce}
	pods, err := c.bind(ctx, here, app, n)
	if err != nil {
		return l, err
	}
	before, err := c.metrics(ctx)
	if err != nil {
		return l, err
	}
	watcher, err := c.watchEndpoints(ctx)
	if err != nil {
		return l, err
	}
	used, err := c.consumers(ctx)
	if err != nil {
		return l, err
	}
	l.add, err = c.cni(ctx, "ADD", pods, atOnce)
	l.seen = watcher.stop(n)
	if err != nil {
		return l, err
	}
	after, err := c.metrics(ctx)
	if err != nil {
		return l, err
	}
	l.phases = phasesBetween(before, after)
	using, err := c.consumers(ctx)
	if err != nil {
		return l, err
	}
	l.used = using.since(used, n)
	l.used["cilium-cni"] = meanCPU(l.add)
	l.del, err = c.cni(ctx, "DEL", pods, atOnce)
	return l, errors.Join(err, c.unbind(ctx, pods))
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

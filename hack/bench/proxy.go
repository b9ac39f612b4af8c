// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	// proxyChanges is how often endpoints change under kube-proxy, which by default waits for up to a second.
	proxyChanges = 5
	// proxyPatience is how long one mode may take for its start and its measurements with so many Services.
	proxyPatience = 4 * time.Minute
)

// proxy is what was measured of kube-proxy in one mode.
type proxy struct {
	mode   string
	levels []level
	starts []time.Duration
	// late is with how many Services it ran out of time; it is not tried with more. 0 if it never did.
	late int
}

// measureKubeProxy does to kube-proxy, in both its modes, what measureServices does to Ciliate, on another cluster. What it
// makes stays: the cluster goes, and its Services with it.
func measureKubeProxy(ctx context.Context, c *cluster, s *section) error {
	if err := c.makeNamespace(ctx); err != nil {
		return err
	}
	f, err := c.newFleet(ctx)
	if err != nil {
		return err
	}
	f.Changes = proxyChanges
	modes := []*proxy{{mode: "iptables"}, {mode: "nftables"}}
	for _, size := range fleetSizes() {
		if err := f.grow(ctx, size); err != nil {
			return err
		}
		for _, p := range modes {
			if err := p.measure(ctx, f); err != nil {
				return fmt.Errorf("mode %s, %d Services: %w", p.mode, size, err)
			}
		}
	}
	sayProxies(s, modes)
	return nil
}

// measure starts kube-proxy anew, without a rule, and measures it.
func (p *proxy) measure(ctx context.Context, f *fleet) error {
	if p.late > 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, proxyPatience)
	defer cancel()
	took, l, err := f.withProxy(bounded, p.mode)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "bench: mode %s was late: %v\n", p.mode, err)
		p.late = f.size
		return nil
	}
	p.starts, p.levels = append(p.starts, took), append(p.levels, l)
	return err
}

// withProxy measures kube-proxy in one mode, with the Services that there are.
func (f *fleet) withProxy(ctx context.Context, mode string) (time.Duration, level, error) {
	took, err := f.c.startProxy(ctx, mode, f.trial)
	if err != nil {
		return 0, level{}, err
	}
	// Who tried before there was a rule is remembered as a connection to nobody, and its port would lead there for minutes.
	if err := f.c.inside(ctx, here, "in-node-forget", struct{}{}, &struct{}{}); err != nil {
		return 0, level{}, err
	}
	l, err := f.level(ctx)
	return took, l, err
}

// startProxy starts kube-proxy where nothing is programmed, and returns when after its start the Service is reached.
func (c *cluster) startProxy(ctx context.Context, mode string, t trial) (time.Duration, error) {
	if _, err := c.script(ctx, nil, "daemon.sh", "stop", kubeProxy, here); err != nil {
		return 0, err
	}
	if _, err := c.inNode(ctx, here, nil, "kube-proxy", "--cleanup"); err != nil {
		return 0, err
	}
	if _, err := c.scriptWith(ctx, []string{"PROXY_MODE=" + mode}, nil, "daemon.sh", "start", kubeProxy, here); err != nil {
		return 0, err
	}
	var reached time.Time
	if err := c.inside(ctx, here, "in-node-reach", t, &reached); err != nil {
		return 0, err
	}
	running, err := c.find(ctx, here, kubeProxy)
	if err != nil || len(running) == 0 {
		return 0, errors.Join(fmt.Errorf("no kube-proxy runs on %s", here), err)
	}
	// A child that is about to be iptables has its parent's name for a moment.
	first := slices.MinFunc(running, func(a, b process) int { return a.started.Compare(b.started) })
	return reached.Sub(first.started), nil
}

func sayProxies(s *section, modes []*proxy) {
	s.say("")
	s.say("kube-proxy of the same Kubernetes, with its defaults, on a cluster of its own whose pods are joined by the bridge plugin, in")
	s.say("IPv4 alone. Measured as Ciliate is above; direct is between pods of that bridge. What comes by a node port it gives a random")
	s.say("port of the node: where the server has not forgotten an earlier connection from that port, and most timestamps of others")
	s.say("look old to it, it takes the second SYN, which comes a second later.")
	for _, p := range modes {
		s.say("")
		s.say("Mode %s:", p.mode)
		if p.late > 0 {
			s.say("with %d Services it was not measured within %s, and not with more.", p.late, proxyPatience)
		}
		sayWays(s, p.levels)
		sayDelays(s, p.levels)
		rows := [][]string{{"Services", "from the start of kube-proxy, nothing programmed, to the first connection that gets through"}}
		for i, l := range p.levels {
			rows = append(rows, []string{fmt.Sprint(l.services), ms(p.starts[i])})
		}
		s.table(rows...)
	}
	s.say("Load average of the machine: %s.", loadAverage())
}

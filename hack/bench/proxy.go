// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// proxyChanges is how often endpoints change under kube-proxy, which by default waits for up to a second.
const proxyChanges = 5

// proxySizes are how many Services kube-proxy has: with more, most of the time would be the API server's, whose allocator of
// addresses looks at all of them for each.
func proxySizes() []int { return []int{1, 100, 1000} }

// proxy is what was measured of kube-proxy in one mode.
type proxy struct {
	mode   string
	levels []level
	starts []time.Duration
}

// measureKubeProxy does to kube-proxy, in both its modes, what measureServices does to Ciliate, on another cluster.
func measureKubeProxy(ctx context.Context, c *cluster, s *section) error {
	return c.within(ctx, func() error {
		f, err := c.newFleet(ctx)
		if err != nil {
			return err
		}
		f.Changes = proxyChanges
		modes := []*proxy{{mode: "iptables"}, {mode: "nftables"}}
		for _, size := range proxySizes() {
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
		return nil // the cluster goes, and its Services with it
	})
}

// measure starts kube-proxy anew, without a rule, and measures it.
func (p *proxy) measure(ctx context.Context, f *fleet) error {
	took, err := f.c.startProxy(ctx, p.mode, f.trial)
	if err != nil {
		return err
	}
	l, err := f.level(ctx)
	p.starts, p.levels = append(p.starts, took), append(p.levels, l)
	return err
}

// startProxy starts kube-proxy where nothing is programmed, and returns when after its start the Service is reached.
func (c *cluster) startProxy(ctx context.Context, mode string, t trial) (time.Duration, error) {
	if _, err := c.script(ctx, nil, "daemon.sh", "stop", kubeProxy, here); err != nil {
		return 0, err
	}
	if _, err := c.script(ctx, nil, "exec.sh", here, "kube-proxy", "--cleanup"); err != nil {
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
	if err != nil || len(running) != 1 {
		return 0, errors.Join(fmt.Errorf("%d kube-proxies run on %s", len(running), here), err)
	}
	return reached.Sub(running[0].started), nil
}

func sayProxies(s *section, modes []*proxy) {
	s.say("")
	s.say("kube-proxy of the same Kubernetes, with its defaults, on a cluster of its own whose pods are joined by the bridge plugin, in")
	s.say("IPv4 alone. Measured as Ciliate is above; direct is between pods of that bridge.")
	for _, p := range modes {
		s.say("")
		s.say("Mode %s:", p.mode)
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

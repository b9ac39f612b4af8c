// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

const (
	// aimService is what of the direct way's rate is to be left through a ClusterIP; aimServiceLow is how far below the
	// interval may reach.
	aimService, aimServiceLow = 0.97, 0.92
	// changes is how often the endpoints of a Service change while it is looked at.
	changes = 50
)

// fleetSizes are how many Services there are, one after another.
func fleetSizes() []int { return []int{1, 100, 1000, 10_000} }

// level is what was measured with so many Services.
type level struct {
	services int
	compared []compared
	delays   []delay
}

// measureServices makes more and more Services, and then reboots the other node, whose agent finds them all.
func measureServices(ctx context.Context, c *cluster, s *section) error {
	return c.within(ctx, func() error {
		f, err := c.newFleet(ctx)
		if err != nil {
			return err
		}
		return f.measure(ctx, s)
	})
}

func (f *fleet) measure(ctx context.Context, s *section) error {
	f.Changes = changes
	var levels []level
	var last growth
	for _, size := range fleetSizes() {
		var err error
		if last, err = f.growWatched(ctx, size); err != nil {
			return err
		}
		l, err := f.level(ctx)
		if err != nil {
			return err
		}
		levels = append(levels, l)
	}
	cold, err := f.c.coldServices(ctx, f.size)
	if err != nil {
		return err
	}
	saySetting(s)
	sayWays(s, levels)
	sayDelays(s, levels)
	sayGrowth(s, last, cold)
	return nil
}

// level measures what there is.
func (f *fleet) level(ctx context.Context) (level, error) {
	fmt.Fprintf(os.Stderr, "bench: %d Services\n", f.size)
	l := level{services: f.size}
	if err := f.c.inside(ctx, here, "in-node-compare", f.trial, &l.compared); err != nil {
		return l, err
	}
	return l, f.c.inside(ctx, here, "in-node-change", f.trial, &l.delays)
}

func saySetting(s *section) {
	s.say("")
	s.say("As between pods, client and server on one node, a pair of turns %s each; direct: the same client to the address of the", serviceRound)
	s.say("server's pod. Every Service but the measured one has %d endpoints that do not exist.", behind)
}

// sayWays is a table of what goes through the Service.
func sayWays(s *section, levels []level) {
	rows := [][]string{{"Services", "way", "what", "direct, /s", "through it, /s", "ratio", "95 %", "aim ≥ 0.97", "lost: direct, through it", "ratio by processor time"}}
	for _, l := range levels {
		for _, c := range l.compared {
			rate, cpu := medianInterval(c.Rate), medianInterval(c.CPU)
			rows = append(rows, []string{
				fmt.Sprint(l.services), c.Way, c.What, figure(median(c.Base)), figure(median(c.Ours)), fmt.Sprintf("%.2f", rate.median),
				fmt.Sprintf("%.2f–%.2f", rate.low, rate.high), verdictOfWay(c), fmt.Sprintf("%d, %d", c.Lost[0], c.Lost[1]), fmt.Sprintf("%.2f (%.2f–%.2f)", cpu.median, cpu.low, cpu.high),
			})
		}
	}
	s.table(rows...)
}

// verdictOfWay: the aim is for ClusterIPs.
func verdictOfWay(c compared) string {
	if c.Way != overClusterIP {
		return ""
	}
	rate := medianInterval(c.Rate)
	return verdict(rate.median >= aimService && rate.low >= aimServiceLow)
}

// sayDelays is a table of changes.
func sayDelays(s *section, levels []level) {
	rows := [][]string{{"Services", "n", "from sending the change, p50", "p99", "from the API server's answer, p50", "p99"}}
	for _, l := range levels {
		var asked, told []time.Duration
		for _, d := range l.delays {
			asked, told = append(asked, d.Asked), append(told, d.Told)
		}
		rows = append(rows, []string{
			fmt.Sprint(l.services), fmt.Sprint(len(l.delays)), ms(median(asked)), ms(quantile(asked, 0.99)), ms(median(told)), ms(quantile(told, 0.99)),
		})
	}
	s.say("From the change of an EndpointSlice, which had no endpoint and is given one, to the first connection that gets through,")
	s.say("tried every %s:", probeEvery)
	s.table(rows...)
}

// growth is what more Services cost a node's agent and its kernel.
type growth struct {
	services int
	// made is how long the API server took for them, and behind how long after its last answer the maps held them all.
	made, behind time.Duration
	// cpu and rss are the agent's, maps the kernel's.
	cpu       time.Duration
	rss, maps int
}

// growWatched makes more Services and waits until the node has them.
func (f *fleet) growWatched(ctx context.Context, size int) (growth, error) {
	g := growth{services: size - f.size}
	before, weight, err := f.c.serviceFootprint(ctx, here)
	if err != nil {
		return g, err
	}
	start := time.Now()
	if err := f.grow(ctx, size); err != nil {
		return g, err
	}
	answered := time.Now()
	if err := f.c.programmed(ctx, here, size); err != nil {
		return g, err
	}
	g.made, g.behind = answered.Sub(start), time.Since(answered)
	if g.services >= many { // else nobody asks for it
		select {
		case <-ctx.Done():
		case <-time.After(settle):
		}
	}
	after, heavier, err := f.c.serviceFootprint(ctx, here)
	g.cpu, g.rss, g.maps = after.cpu-before.cpu, after.rss-before.rss, heavier-weight
	return g, err
}

// serviceFootprint is the node's agent, and the bytes of the maps of Services.
func (c *cluster) serviceFootprint(ctx context.Context, node string) (process, int, error) {
	agents, err := c.find(ctx, node, "cilium-agent")
	if err != nil || len(agents) != 1 {
		return process{}, 0, errors.Join(fmt.Errorf("%d agents run on %s", len(agents), node), err)
	}
	var bytes int
	for _, name := range []string{"frontends", "backends"} {
		m, err := c.mapOf(ctx, node, name)
		if err != nil {
			return agents[0], 0, err
		}
		info, err := m.Info()
		if err := errors.Join(err, m.Close()); err != nil {
			return agents[0], 0, fmt.Errorf("look at map %s: %w", name, err)
		}
		size, _ := info.Memlock()
		bytes += int(size)
	}
	return agents[0], bytes, nil
}

// mapOf opens one of the agent's maps.
func (c *cluster) mapOf(ctx context.Context, node, name string) (*ebpf.Map, error) {
	root, err := c.root(ctx, node)
	if err != nil {
		return nil, err
	}
	m, err := ebpf.LoadPinnedMap(root+bpffs+"/"+name, nil)
	if err != nil {
		return nil, fmt.Errorf("open map %s of %s: %w", name, node, err)
	}
	return m, nil
}

// programmed waits until the node's map has at least so many frontends.
func (c *cluster) programmed(ctx context.Context, node string, services int) error {
	return until(ctx, fmt.Sprintf("%d frontends on %s", services, node), func() (bool, error) {
		frontends, err := c.mapOf(ctx, node, "frontends")
		if err != nil {
			return false, err
		}
		var (
			n     int
			key   bpfgen.FrontendKey
			value bpfgen.Frontend
		)
		all := frontends.Iterate()
		for all.Next(&key, &value) {
			n++
		}
		return n >= services, errors.Join(all.Err(), frontends.Close())
	})
}

// coldServices reboots the other node and returns how long after its start the agent had written all Services.
func (c *cluster) coldServices(ctx context.Context, services int) (time.Duration, error) {
	for _, script := range []string{"node-stop.sh", "node-start.sh"} {
		if _, err := c.script(ctx, nil, script, there); err != nil {
			return 0, err
		}
	}
	if err := c.programmed(ctx, there, services); err != nil {
		return 0, err
	}
	end := time.Now()
	agents, err := c.find(ctx, there, "cilium-agent")
	if err != nil || len(agents) != 1 {
		return 0, errors.Join(fmt.Errorf("%d agents run on %s", len(agents), there), err)
	}
	return end.Sub(agents[0].started), nil
}

func sayGrowth(s *section, g growth, cold time.Duration) {
	each := func(bytes int) string { return fmt.Sprintf("%d bytes", bytes/g.services) }
	s.table(
		[]string{"what", fmt.Sprintf("%d more Services", g.services), "of each"},
		[]string{"made through the API, " + fmt.Sprint(hands) + " requests at once", g.made.Round(100 * time.Millisecond).String(), ""},
		[]string{"from the API server's last answer until the map holds them all", ms(g.behind), ""},
		[]string{"processor time of one node's agent meanwhile", ms(g.cpu), fmt.Sprintf("%.2f ms", g.cpu.Seconds()*1000/float64(g.services))},
		[]string{"memory of the agent, RSS", mib(g.rss), each(g.rss)},
		[]string{"memory of the maps `frontends` and `backends`", mib(g.maps), each(g.maps)},
		[]string{"cold start: after the node's reboot, from the start of the agent until the map holds all " + fmt.Sprint(fleetSizes()[len(fleetSizes())-1]),
			ms(cold), ""},
	)
	s.say("Making them takes the API server its time: its allocator of addresses looks at all of them for each. Load average of the")
	s.say("machine: %s.", loadAverage())
}

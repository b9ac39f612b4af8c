// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

const (
	// many is how many endpoints a node is given for the measurement of memory.
	many = 100
	// settle is how long Go is given to return what it does not need.
	settle = 10 * time.Second

	aimAgent, aimOperator = 70 << 20, 50 << 20
)

// footprint is what the node's agent and the operators hold.
type footprint struct {
	agent     process
	operators []process
	maps      map[string]int
	programs  int
}

// measureMemory gives a node many endpoints.
func measureMemory(ctx context.Context, c *cluster, s *section) error {
	var idle, full footprint
	err := c.withoutKubelet(ctx, func() (err error) {
		if idle, err = c.footprint(ctx); err != nil {
			return err
		}
		pods, err := c.bind(ctx, here, "many", many)
		if err != nil {
			return err
		}
		if _, err := c.cni(ctx, "ADD", pods, false); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(settle):
		}
		if full, err = c.footprint(ctx); err != nil {
			return err
		}
		_, err = c.cni(ctx, "DEL", pods, true)
		return errors.Join(err, c.unbind(ctx, pods))
	})
	if err != nil {
		return err
	}
	sayMemory(s, idle, full)
	return nil
}

func sayMemory(s *section, idle, full footprint) {
	s.table(
		[]string{"what", "idle", fmt.Sprintf("%d endpoints", many), "aim", "", "Cilium"},
		[]string{"agent, RSS", mib(idle.agent.rss), mib(full.agent.rss), "≤ 70 MiB", verdict(full.agent.rss <= aimAgent),
			"203 MB idle, 242 MB with 115 endpoints"},
		[]string{"&emsp;anonymous of it", mib(idle.agent.anonymous), mib(full.agent.anonymous), "", "", "82 MB, 121 MB"},
		[]string{"operator, RSS, the larger of two", mib(idle.operator().rss), mib(full.operator().rss), "≤ 50 MiB",
			verdict(full.operator().rss <= aimOperator), "136 MB idle, 125 MB with 148 endpoints"},
		[]string{"&emsp;anonymous of it", mib(idle.operator().anonymous), mib(full.operator().anonymous), "", "", "42 MB, 31 MB"},
		[]string{"maps of the node", mib(idle.bytes()), mib(full.bytes()), "", "", ""},
		[]string{"programs of the node", kib(idle.programs), kib(full.programs), "", "", "about 12 programs an endpoint"},
	)
	s.say("RSS %s after the last ADD. The maps, as the kernel accounts for them:", settle)
	rows := [][]string{{"map", "idle", fmt.Sprintf("%d endpoints", many)}}
	for _, name := range slices.SortedFunc(maps.Keys(full.maps), func(a, b string) int { return full.maps[b] - full.maps[a] }) {
		rows = append(rows, []string{"`" + name + "`", kib(idle.maps[name]), kib(full.maps[name])})
	}
	s.table(rows...)
}

func mib(bytes int) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
func kib(bytes int) string { return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10)) }

// operator is the one with more: the leader.
func (f footprint) operator() process {
	return slices.MaxFunc(f.operators, func(a, b process) int { return a.rss - b.rss })
}

func (f footprint) bytes() int {
	var sum int
	for _, bytes := range f.maps {
		sum += bytes
	}
	return sum
}

func (c *cluster) footprint(ctx context.Context) (f footprint, err error) {
	agents, err := c.find(ctx, here, "cilium-agent")
	if err != nil || len(agents) != 1 {
		return f, errors.Join(fmt.Errorf("%d agents run on %s", len(agents), here), err)
	}
	f.agent = agents[0]
	for _, node := range []string{here, there} {
		operators, err := c.find(ctx, node, "cilium-operator")
		if err != nil {
			return f, err
		}
		f.operators = append(f.operators, operators...)
	}
	if len(f.operators) == 0 {
		return f, errors.New("no operator runs")
	}
	programs, err := c.programs(ctx, here)
	if err != nil {
		return f, err
	}
	return f, f.weigh(programs)
}

// weigh adds up the kernel's memory of programs and of the maps that they use.
func (f *footprint) weigh(programs map[string]*ebpf.Program) error {
	f.maps = map[string]int{}
	seen := map[ebpf.MapID]bool{}
	for _, p := range programs {
		info, err := p.Info()
		if err != nil {
			return fmt.Errorf("look at a program: %w", err)
		}
		size, _ := info.Memlock()
		f.programs += int(size)
		ids, _ := info.MapIDs()
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			m, err := ebpf.NewMapFromID(id)
			if err != nil {
				return fmt.Errorf("open map %d: %w", id, err)
			}
			info, err := m.Info()
			if err := errors.Join(err, m.Close()); err != nil {
				return fmt.Errorf("look at map %d: %w", id, err)
			}
			size, _ := info.Memlock()
			f.maps[info.Name] += int(size)
		}
	}
	return nil
}

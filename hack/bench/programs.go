// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/hack/bench/bare"
	"github.com/ciliate-io/ciliate/hack/bench/load"
)

// measurePrograms sends one byte to and fro, with the kernel's own clock around each run of a program, and then with its
// counter of instructions. Both are told of the run that was disturbed the least.
func measurePrograms(ctx context.Context, c *cluster, s *section) error {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	return c.within(ctx, func() (err error) {
		ends, mtu, err := c.podEnds(ctx)
		if err != nil {
			return err
		}
		lab := &bare.Lab{}
		defer func() { err = errors.Join(err, lab.Close()) }()
		pair, err := lab.Pair(mtu)
		if err != nil {
			return err
		}
		tunnel, err := lab.Tunnel(mtu)
		if err != nil {
			return err
		}
		ours, err := c.programs(ctx, here)
		if err != nil {
			return err
		}
		return sayPrograms(ctx, s, []way{
			{"one node, bare: a veth pair", pathOf(pair[0], pair[1]), nil},
			{"one node, Ciliate", pathOf(ends[0], ends[1]), ours},
			{"two nodes, bare: VXLAN and two small programs", pathOf(tunnel[0], tunnel[1]), lab.Programs},
			{"two nodes, Ciliate", pathOf(ends[0], ends[2]), ours},
		})
	})
}

// way is a path and the programs on it.
type way struct {
	name     string
	path     load.Path
	programs map[string]*ebpf.Program
}

func sayPrograms(ctx context.Context, s *section, ways []way) error {
	costs := [][]string{{"way", "processor time a round trip", "of the bare way's", "kernel instructions a round trip"}}
	runs := [][]string{{"way", "program", "runs a round trip on this node", "ns a run"}}
	var before float64
	for i, w := range ways {
		cpu, counted, err := least(ctx, w.path)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		ratio := ""
		if i%2 == 1 {
			ratio = fmt.Sprintf("%.2f", cpu/before)
		}
		before = cpu
		costs = append(costs, []string{w.name, fmt.Sprintf("%.1f us", cpu/1000), ratio, counted})
		rows, err := w.runs(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		runs = append(runs, rows...)
	}
	s.say("")
	s.say("One byte each way over one TCP connection, IPv4, the least of %d runs of %s. Processor time is that of client and server;", rounds, round)
	s.say("nanoseconds a run are the kernel's own (`BPF_ENABLE_STATS`), its reading of the clock included. Load average of the")
	s.say("machine: %s.", loadAverage())
	s.table(costs...)
	s.table(runs...)
	return nil
}

// least is the least processor time of a round trip in nanoseconds, and the least number of instructions, if the machine
// can count them.
func least(ctx context.Context, path load.Path) (cpu float64, counted string, err error) {
	var times, instructions []float64
	for range rounds {
		r, err := path.RequestResponse(round)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return 0, "", err
		}
		times = append(times, r.CPU)
		n, err := path.Instructions(round)
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return 0, "", err
		}
		if err == nil {
			instructions = append(instructions, n)
		}
		runtime.GC()
	}
	if len(instructions) == 0 {
		return slices.Min(times), "this machine counts none", nil
	}
	return slices.Min(times), fmt.Sprintf("%.0f", slices.Min(instructions)), nil
}

// runs is how often each program ran and how long, in the quickest of some runs.
func (w way) runs(ctx context.Context) ([][]string, error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("turn on the kernel's clock: %w", err)
	}
	defer stats.Close()
	best := map[string][2]float64{} // runs a round trip, ns a run
	for range rounds {
		before, err := w.count()
		if err != nil {
			return nil, err
		}
		r, err := w.path.RequestResponse(round)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
		after, err := w.count()
		if err != nil {
			return nil, err
		}
		for name := range w.programs {
			n := float64(after[name].RunCount - before[name].RunCount)
			ns := float64((after[name].Runtime - before[name].Runtime).Nanoseconds()) / n
			trips := r.Rate * round.Seconds()
			if old, known := best[name]; n > trips/2 && (!known || ns < old[1]) {
				best[name] = [2]float64{n / trips, ns}
			}
		}
		runtime.GC()
	}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(best)) {
		rows = append(rows, []string{w.name, "`" + name + "`", fmt.Sprintf("%.1f", best[name][0]), fmt.Sprintf("%.0f", best[name][1])})
	}
	return rows, nil
}

func (w way) count() (map[string]*ebpf.ProgramStats, error) {
	all := map[string]*ebpf.ProgramStats{}
	for name, p := range w.programs {
		var err error
		if all[name], err = p.Stats(); err != nil {
			return nil, fmt.Errorf("ask for the runs of %s: %w", name, err)
		}
	}
	return all, nil
}

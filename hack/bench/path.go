// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/hack/bench/bare"
	"github.com/ciliate-io/ciliate/hack/bench/load"
)

const (
	// rounds is how often baseline and ours take turns, round how long each sends.
	rounds = 41
	round  = 400 * time.Millisecond
	// aimPath is what of the bare path's rate is to be left; aimLow is how far below it the interval may reach.
	aimPath, aimLow = 0.95, 0.90
)

// Names of ways to send, which Services are measured by too.
const newConnections, roundTrips = "new connections", "request and response, 1 byte"

// kind is a way to send.
type kind struct {
	name, unit string
	scale      float64
	run        func(load.Path, time.Duration) (load.Result, error)
	// cilium says what Cilium does, by where.
	cilium map[where]string
}

// where two pods are.
type where int

const (
	nowhere where = iota
	onOneNode
	acrossNodes
)

// versus is two paths that take turns.
type versus struct {
	title, name string
	bare, ours  load.Path
	where       where
}

func kinds() []kind {
	return []kind{
		{"TCP stream", "Gbit/s", 1e-9, load.Path.Stream, map[where]string{onOneNode: "23.1–23.8 (bare 28.3–29.5)", acrossNodes: "13.3–13.5"}},
		{roundTrips, "/s", 1, load.Path.RequestResponse, map[where]string{onOneNode: "28–29 k (bare 31–34 k)", acrossNodes: "16–17 k"}},
		{newConnections, "/s", 1, load.Path.Connect, map[where]string{onOneNode: "4.0–4.2 k (bare 7.2–7.5 k)", acrossNodes: "2.3 k"}},
		{"ping", "/s", 1, load.Path.Ping, nil},
	}
}

// measurePath sends between real pods and, in turns, over a path that is as bare as it can be.
func measurePath(ctx context.Context, c *cluster, s *section) error {
	// A garbage collection would wait for threads that wait for packets.
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
		floor, err := lab.Switch(mtu)
		if err != nil {
			return err
		}
		tunnel, err := lab.Tunnel(mtu)
		if err != nil {
			return err
		}
		s.say("")
		s.say("Two threads with blocking sockets, cubic, IPv4, MTU %d; baseline and ours take turns %d times for %s each. The ratio is the",
			mtu, rounds, round)
		s.say("median of the pairs' with its 95 %% interval; the aim is met when it is at least 0.95 and its lower bound at least 0.90. By")
		s.say("processor time: how much of the bare path's work per second of both threads' processor time is left, whatever else the")
		s.say("machine does.")
		for _, way := range []versus{
			{
				"Two pods of one node; bare: a veth pair between two namespaces.",
				"Ciliate", pathOf(pair[0], pair[1]), pathOf(ends[0], ends[1]), onOneNode,
			},
			{
				"The same bare pair, and the least that a node with a device for each pod can do: two pairs, and at each a " +
					"[program of one line](../hack/bench/bare/c/bare.c), `bpf_redirect_peer` by TCX.",
				"two pairs", pathOf(pair[0], pair[1]), pathOf(floor[0], floor[1]), nowhere,
			},
			{
				"Two pods of two nodes; bare: [VXLAN with two programs of a few lines](../hack/bench/bare/c/bare.c) in the same topology.",
				"Ciliate", pathOf(tunnel[0], tunnel[1]), pathOf(ends[0], ends[2]), acrossNodes,
			},
		} {
			rows, err := compareAll(ctx, way)
			if err != nil {
				return err
			}
			s.say("")
			s.say("%s", way.title)
			s.table(rows...)
		}
		s.say("Load average of the machine: %s.", loadAverage())
		return nil
	})
}

func pathOf(client, server load.End) load.Path {
	return load.Path{Client: client, Server: server}
}

// compareAll is one table.
func compareAll(ctx context.Context, way versus) ([][]string, error) {
	rows := [][]string{{"what", "unit", "bare", way.name, "ratio", "95 %", "aim ≥ 0.95", "ratio by processor time", "Cilium"}}
	for _, k := range kinds() {
		c, err := compare(ctx, k.run, round, way.bare, way.ours)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		rate, cpu := medianInterval(c.Rate), medianInterval(c.CPU)
		rows = append(rows, []string{
			k.name, k.unit, figure(median(c.Base) * k.scale), figure(median(c.Ours) * k.scale), fmt.Sprintf("%.2f", rate.median),
			fmt.Sprintf("%.2f–%.2f", rate.low, rate.high), verdict(rate.median >= aimPath && rate.low >= aimLow),
			fmt.Sprintf("%.2f (%.2f–%.2f)", cpu.median, cpu.low, cpu.high), k.cilium[way.where],
		})
	}
	return rows, nil
}

// comparison is the rates of both, and the ratios of the pairs: of rates, and of what one second of processor does.
type comparison struct {
	Base, Ours, Rate, CPU []float64
	// Lost are connections without an answer, of both.
	Lost [2]int
}

// compare takes turns. Who begins may be at an advantage, so they take turns in that too.
func compare(ctx context.Context, run func(load.Path, time.Duration) (load.Result, error), round time.Duration,
	base, ours load.Path,
) (c comparison, err error) {
	for i := range rounds {
		paths := [2]load.Path{base, ours}
		var results [2]load.Result
		for _, j := range [2]int{i % 2, 1 - i%2} {
			if results[j], err = run(paths[j], round); err != nil {
				return c, err
			}
		}
		if ctx.Err() != nil {
			return c, ctx.Err()
		}
		for j := range results {
			c.Lost[j] += results[j].Lost
		}
		c.Base, c.Ours = append(c.Base, results[0].Rate), append(c.Ours, results[1].Rate)
		c.Rate = append(c.Rate, results[1].Rate/results[0].Rate)
		c.CPU = append(c.CPU, results[0].CPU/results[1].CPU)
		runtime.GC()
	}
	return c, nil
}

func figure(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// podEnds starts three pods, two on one node and one on the other, and returns their namespaces once they are settled.
func (c *cluster) podEnds(ctx context.Context) ([3]load.End, int, error) {
	var ends [3]load.End
	var mtu int
	for i, node := range []string{here, here, there} {
		pod := newPod(fmt.Sprint("path-", i), "path", node)
		if err := c.client.Create(ctx, pod); err != nil {
			return ends, 0, fmt.Errorf("create pod %s: %w", pod.Name, err)
		}
		cep, err := c.endpoint(ctx, pod.Name)
		if err != nil {
			return ends, 0, err
		}
		root, err := c.root(ctx, node)
		if err != nil {
			return ends, 0, err
		}
		mtu = int(cep.Status.Interface.MTUBytes)
		if ends[i].Addr, err = netip.ParseAddr(cep.Status.Addresses[0].IP); err != nil {
			return ends, 0, err
		}
		if ends[i].Netns, err = openNetns(root, cep.Spec.Netns); err != nil {
			return ends, 0, err
		}
		if err := c.inside(ctx, node, "in-node-settled", cep.Status.Interface.HostIndex, &struct{}{}); err != nil {
			return ends, 0, err
		}
	}
	return ends, mtu, nil
}

// awaitSettled waits until the agent has settled a pod's device, as it does some seconds after its ADD.
func awaitSettled(ctx context.Context, device int) (struct{}, error) {
	return struct{}{}, until(ctx, fmt.Sprintf("device %d to be settled", device), func() (bool, error) {
		found, err := link.QueryPrograms(link.QueryOptions{Target: device, Attach: ebpf.AttachTCXIngress})
		if errors.Is(err, unix.EINVAL) {
			return true, nil // a kernel without TCX
		}
		return err == nil && len(found.Programs) > 0, err
	})
}

// openNetns opens a pod's network namespace below a node's root. /var/run is a link there, and would lead out of it.
func openNetns(root, path string) (netns.NsHandle, error) {
	ns, err := netns.GetFromPath(filepath.Join(root, "/run/netns", filepath.Base(path)))
	if err != nil {
		return ns, fmt.Errorf("open the pod's network namespace %s: %w", path, err)
	}
	return ns, nil
}

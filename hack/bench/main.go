// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command bench measures Ciliate on the cluster of hack/cluster and writes what it found into docs/performance.md, a
// section for each part. It is called by bench.sh, which says where things are.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// limit is how long one part may take.
	limit = 15 * time.Minute
	// fleetLimit is for parts with many Services: 10,000 take the API server minutes.
	fleetLimit = 45 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is what can be measured by itself, on a cluster with this network.
type part struct {
	name, title string
	network     string
	limit       time.Duration
	measure     func(context.Context, *cluster, *section) error
}

// The networks that a cluster of hack/cluster can have.
const ciliate, kubeProxy = "ciliate", "kube-proxy"

func parts() []part {
	return []part{
		{"add", "ADD and DEL", ciliate, limit, measureAdd},
		{"path", "Packets between pods", ciliate, limit, measurePath},
		{"services", "Services", ciliate, fleetLimit, measureServices},
		{"kube-proxy", "Services by kube-proxy, to compare with", kubeProxy, fleetLimit, measureKubeProxy},
		{"programs", "What each program costs", ciliate, limit, measurePrograms},
		{"memory", "Memory", ciliate, limit, measureMemory},
		{"restart", "From the agent's start to the first pod", ciliate, limit, measureRestart},
		{"sizes", "Sizes", ciliate, limit, measureSizes},
	}
}

// run measures the named parts, or all that the cluster's network allows. With a word of inside.go it is the helper that runs in a node.
func run(ctx context.Context, names []string) error {
	if len(names) == 1 {
		if help, ok := helpers()[names[0]]; ok {
			return help(ctx, os.Stdin, os.Stdout)
		}
	}
	chosen, err := choose(names, os.Getenv("NETWORK"))
	if err != nil {
		return err
	}
	c, err := newCluster(os.Getenv)
	if err != nil {
		return err
	}
	for _, p := range chosen {
		if err := c.measure(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func choose(names []string, network string) ([]part, error) {
	all := slices.DeleteFunc(parts(), func(p part) bool { return p.network != network })
	if len(names) == 0 {
		return all, nil
	}
	var chosen []part
	for _, p := range all {
		for _, name := range names {
			if p.name == name {
				chosen = append(chosen, p)
			}
		}
	}
	if len(chosen) != len(names) {
		var known []string
		for _, p := range all {
			known = append(known, p.name)
		}
		return nil, fmt.Errorf("%q: the parts on a cluster with %s are %s", names, network, strings.Join(known, ", "))
	}
	return chosen, nil
}

// measure runs one part and writes its section.
func (c *cluster) measure(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	fmt.Fprintf(os.Stderr, "bench: %-10s %s\n", p.name, p.title)
	start := time.Now()
	s := newSection(p)
	if err := p.measure(ctx, c, s); err != nil {
		return errors.Join(err, ctx.Err())
	}
	fmt.Fprintf(os.Stderr, "%s\nbench: %-10s took %s\n", s.text(), p.name, time.Since(start).Round(time.Second))
	return s.write(c.repo + "/docs/performance.md")
}

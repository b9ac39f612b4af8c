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
	"strings"
	"syscall"
	"time"
)

// limit is how long one part may take.
const limit = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is what can be measured by itself.
type part struct {
	name, title string
	measure     func(context.Context, *cluster, *section) error
}

func parts() []part {
	return []part{
		{"add", "ADD and DEL", measureAdd},
		{"path", "Packets between pods", measurePath},
		{"programs", "What each program costs", measurePrograms},
		{"memory", "Memory", measureMemory},
		{"restart", "From the agent's start to the first pod", measureRestart},
		{"sizes", "Sizes", measureSizes},
	}
}

// run measures the named parts, or all. With a word of inside.go it is the helper that runs in a node.
func run(ctx context.Context, names []string) error {
	if len(names) == 1 {
		if help, ok := helpers()[names[0]]; ok {
			return help(ctx, os.Stdin, os.Stdout)
		}
	}
	chosen, err := choose(names)
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

func choose(names []string) ([]part, error) {
	all := parts()
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
		return nil, fmt.Errorf("%q: the parts are %s", names, strings.Join(known, ", "))
	}
	return chosen, nil
}

// measure runs one part and writes its section.
func (c *cluster) measure(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
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

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// negligible is the processor time of an ADD below which a process is not named.
const negligible = 200 * time.Microsecond

// consumers is processor time by who took it: "cilium-agent, node1".
type consumers map[string]time.Duration

// consumers are the processes of the control plane and of the nodes, in the network namespaces of these.
func (c *cluster) consumers(ctx context.Context) (consumers, error) {
	places, err := c.places(ctx)
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	all := consumers{}
	for _, path := range names {
		dir := filepath.Dir(path)
		comm, _ := os.ReadFile(path) // it may have ended meanwhile
		net, _ := os.Readlink(dir + "/ns/net")
		place, ours := places[net]
		if p, err := newProcess(dir); err == nil && ours {
			all[strings.TrimSpace(string(comm))+place] += p.cpu
		}
	}
	return all, nil
}

// places names the network namespaces of the cluster, as it is put behind the name of a process.
func (c *cluster) places(ctx context.Context) (map[string]string, error) {
	file := filepath.Join(filepath.Dir(filepath.Dir(c.inNodes)), "pids/kube-apiserver")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	pids := map[string]int{"": pid}
	for _, node := range []string{here, there} {
		if pids[", "+node], err = c.pid1(ctx, node); err != nil {
			return nil, err
		}
	}
	places := map[string]string{}
	for place, pid := range pids {
		net, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return nil, err
		}
		places[net] = place
	}
	return places, nil
}

// since is what was taken after before, shared by n.
func (u consumers) since(before consumers, n int) consumers {
	each := consumers{}
	for name, took := range u {
		each[name] = (took - before[name]) / time.Duration(n)
	}
	return each
}

// meanUse is who worked for one ADD in some lives of as many pods.
func meanUse(lives []life) consumers {
	all := consumers{}
	for _, l := range lives {
		for name, took := range l.used {
			all[name] += took / time.Duration(len(lives))
		}
	}
	return all
}

// sayConsumers tells who worked for one ADD. Most of it is also the time of an ADD: there are two processors.
func sayConsumers(s *section, alone life, bursts []life) {
	together := meanUse(bursts)
	rows := [][]string{{"processor time for one ADD, of", "one at a time, ms", "all at once, ms"}}
	var sum, sumTogether, rest, restTogether time.Duration
	byTime := func(a, b string) int { return int(together[b] - together[a]) }
	for _, name := range slices.SortedFunc(maps.Keys(together), byTime) {
		one, all := alone.used[name], together[name]
		sum, sumTogether = sum+one, sumTogether+all
		if max(one, all) < negligible {
			rest, restTogether = rest+one, restTogether+all
			continue
		}
		rows = append(rows, []string{name, number(one), number(all)})
	}
	s.table(append(rows, []string{"the others", number(rest), number(restTogether)},
		[]string{"all", number(sum), number(sumTogether)})...)
}

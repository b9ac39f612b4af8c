// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build integration

package cni

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkPlugin measures the executed plugin against a real API server, with an agent that has no datapath: what is
// left is the exec, TLS and the API, the floor under every ADD. One operation is fifty pods, one after the other or all
// at once.
func BenchmarkPlugin(b *testing.B) {
	n := newNode(b, start(b))
	n.startAgent(b, n.runDir)
	const pods = 50
	round := 0
	sandboxes := func() []sandbox {
		round++
		var s []sandbox
		for i := range pods {
			s = append(s, sandbox{
				pod: fmt.Sprintf("p%d-%d", round, i), uid: fmt.Sprint("u", i), container: fmt.Sprintf("c%d-%d", round, i), ifName: "eth0",
			})
		}
		return s
	}
	b.Run("VERSION", func(b *testing.B) { b.Log(n.measure(b, "VERSION", sandboxes(), 1)) })
	b.Run("one at a time", func(b *testing.B) {
		for b.Loop() {
			s := sandboxes()
			b.Log("ADD", n.measure(b, "ADD", s, 1))
			b.Log("DEL", n.measure(b, "DEL", s, 1))
		}
	})
	b.Run("all at once", func(b *testing.B) {
		for b.Loop() {
			s := sandboxes()
			b.Log("ADD", n.measure(b, "ADD", s, pods))
			b.Log("DEL", n.measure(b, "DEL", s, pods))
		}
	})
}

// measure runs a verb for each sandbox, some in parallel, and says how long it took.
func (n *node) measure(b *testing.B, verb string, sandboxes []sandbox, parallel int) string {
	b.Helper()
	took := make([]time.Duration, len(sandboxes))
	slots := make(chan struct{}, parallel)
	began := time.Now()
	var all sync.WaitGroup
	for i, s := range sandboxes {
		slots <- struct{}{}
		all.Go(func() {
			began := time.Now()
			if out, code := n.run(b, verb, s); code != 0 {
				b.Errorf("%s %v: %s", verb, s, out)
			}
			took[i] = time.Since(began)
			<-slots
		})
	}
	all.Wait()
	total := time.Since(began)
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[len(took)*percent/100].Round(10 * time.Microsecond) }
	return fmt.Sprintf("n=%d p50 %s p95 %s last %s, all %s", len(took), at(50), at(95),
		took[len(took)-1].Round(10*time.Microsecond), total.Round(time.Millisecond))
}

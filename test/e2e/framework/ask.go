// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/test/e2e/report"
)

// few is how many answered connections of each target prove something.
const few = 10

// Ask makes new connections to some targets all the time, one after another to each.
type Ask struct {
	cluster *Cluster
	name    string
	before  map[string]report.Target
}

// StartAsk starts a pod on node, or a process of the world, that asks, and returns when every target has answered.
func (c *Cluster) StartAsk(t *testing.T, name string, node *Node, targets ...string) *Ask {
	t.Helper()
	a := &Ask{cluster: c, name: name, before: map[string]report.Target{}}
	for _, target := range targets {
		a.before[target] = report.Target{}
	}
	c.startReporter(t, name, node, "ask", targets...)
	a.waitForAnswers(t)
	a.before = c.targets(t, name)
	return a
}

// waitForAnswers waits until every target has answered a few connections since the start.
func (a *Ask) waitForAnswers(t *testing.T) {
	t.Helper()
	Eventually(t, 30*time.Second, "answers to "+a.name, func(context.Context) error {
		r, err := report.Read(a.cluster.report(a.name))
		if err != nil {
			return err
		}
		for target, was := range a.before {
			if now := r.Targets[target]; now.Received < was.Received+few {
				return fmt.Errorf("%s: %+v", target, now)
			}
		}
		return nil
	})
}

// NoneFailed checks that since the start every connection was answered, and says how many there were.
func (a *Ask) NoneFailed(t *testing.T) {
	t.Helper()
	a.waitForAnswers(t)
	var sum report.Target
	for target, now := range a.cluster.targets(t, a.name) {
		was := a.before[target]
		received, lost := now.Received-was.Received, now.Lost-was.Lost
		if lost > 0 {
			t.Errorf("%s: %d connections to %s failed, %d did not: %s", a.name, lost, target, received, now.Problem)
		}
		sum.Received += received
		sum.Lost += lost
		sum.LongestGap = max(sum.LongestGap, now.LongestGap)
	}
	t.Logf("%s: %d connections answered, %d failed, the slowest took %s",
		a.name, sum.Received, sum.Lost, sum.LongestGap.Round(time.Millisecond))
}

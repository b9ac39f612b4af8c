// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build e2e

package framework

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/test/e2e/report"
)

// Hold is a pod that keeps many TCP connections and says something on each, twice a second.
type Hold struct {
	cluster *Cluster
	name    string
	count   int
}

// StartHold starts a pod on node, or a process of the world, that keeps each connections to every target, and returns when
// all carry messages.
func (c *Cluster) StartHold(t *testing.T, name string, node *Node, each int, targets ...string) *Hold {
	t.Helper()
	h := &Hold{cluster: c, name: name, count: each * len(targets)}
	c.startReporter(t, name, node, "hold", append([]string{strconv.Itoa(each)}, targets...)...)
	h.waitForMessages(t, nil)
	return h
}

// waitForMessages waits until every connection has carried another message since.
func (h *Hold) waitForMessages(t *testing.T, since map[string]report.Target) {
	t.Helper()
	Eventually(t, 30*time.Second, "messages on all connections of "+h.name, func(context.Context) error {
		r, err := report.Read(h.cluster.report(h.name))
		if err != nil {
			return err
		}
		silent := h.count
		for connection, now := range r.Targets {
			if now.Messages > since[connection].Messages {
				silent--
			}
		}
		if silent > 0 {
			return fmt.Errorf("%d of %d are silent", silent, h.count)
		}
		return nil
	})
}

// AllHeld checks that every connection is still the first, and alive.
func (h *Hold) AllHeld(t *testing.T) {
	t.Helper()
	h.waitForMessages(t, h.cluster.targets(t, h.name))
	var sum report.Target
	for connection, now := range h.cluster.targets(t, h.name) {
		sum.Messages += now.Messages
		sum.Retransmits += now.Retransmits
		sum.Breaks += now.Breaks
		sum.LongestGap = max(sum.LongestGap, now.LongestGap)
		if now.Breaks > 0 {
			t.Errorf("%s lost a connection: %s: %s", h.name, connection, now.Problem)
		}
	}
	t.Logf("%s: %d connections, %d messages, %d retransmits, %d breaks, longest gap %s",
		h.name, h.count, sum.Messages, sum.Retransmits, sum.Breaks, sum.LongestGap.Round(time.Millisecond))
}

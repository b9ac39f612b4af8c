// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ciliate-io/ciliate/controllers/agent/node"
	dp "github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/fake"
)

func TestInsist(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	s := &Start{clock: clock, node: node.New(node.Options{})}
	tries := 0
	done := make(chan bool)
	go func() {
		done <- s.insist(t.Context(), "fill the tables", func(context.Context) error {
			if tries++; tries < 3 {
				return errors.New("busy")
			}
			return nil
		})
	}()
	for {
		select {
		case succeeded := <-done:
			if !succeeded || tries != 3 {
				t.Errorf("succeeded: %v after %d tries", succeeded, tries)
			}
			return
		default:
			clock.Step(stepAgain)
		}
	}
}

func TestInsistEndsWithItsContext(t *testing.T) {
	s := &Start{clock: clocktesting.NewFakeClock(time.Unix(1000, 0)), node: node.New(node.Options{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.insist(ctx, "fill the tables", func(context.Context) error { return errors.New("busy") }) {
		t.Error("it goes on")
	}
	if got := s.Reason(); !strings.Contains(got, "fill the tables") || !strings.Contains(got, "busy") {
		t.Errorf("the reason is %q", got)
	}
	s.serving.Store(true)
	if got := s.Reason(); got != "" {
		t.Errorf("the reason is %q though the agent serves", got)
	}
}

func TestKernelMetrics(t *testing.T) {
	d := fake.New()
	d.SetCounts([]dp.Count{{Reason: "forwarded", Direction: "egress", Packets: 7, Bytes: 700}})
	registry := prometheus.NewRegistry()
	registry.MustRegister(&kernelMetrics{datapath: d})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range families {
		got[f.GetName()] = len(f.GetMetric())
	}
	want := map[string]int{
		"ciliate_datapath_packets_total": 1, "ciliate_datapath_bytes_total": 1, "ciliate_map_entries": 3, "ciliate_map_capacity": 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	d.Fail("Counts", 1, errors.New("busy"))
	if _, err := registry.Gather(); err == nil {
		t.Error("an error of the kernel is not shown")
	}
}

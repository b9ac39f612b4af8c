// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/test/build"
)

// settled is how often an endpoint was to be settled.
func (w *world) settled() int {
	times := 0
	for _, call := range w.dp.Calls() {
		if call == "SettleEndpoint" {
			times++
		}
	}
	return times
}

func TestSettlingWaitsForQuiet(t *testing.T) {
	tests := map[string]struct {
		happens func(*world)
		want    int
	}{
		"nothing happens":                  {happens: func(*world) {}, want: 1},
		"an endpoint is looked over again": {happens: func(w *world) { w.mustRun(podName) }, want: 1},
		"the agent starts again":           {happens: func(w *world) { w.restart(); w.mustRun(podName) }, want: 1},
		"an endpoint comes": {happens: func(w *world) {
			other := build.Endpoint("default/other").Obj()
			other.UID, other.Spec.ContainerID, other.Spec.Netns = "other-endpoint", "c2", "/run/netns/c2"
			w.create(other)
			w.create(build.Pod("default/other").OnNode(nodeName).Label("app", "web").Obj())
			w.addSandbox("c2")
			w.mustRun("default/other")
		}},
		"an endpoint goes": {happens: func(w *world) {
			w.tombstone("c1", podName)
			w.remove(w.get(podName))
			w.mustRun(podName)
		}},
		"a device goes": {happens: func(w *world) {
			w.trash.put(rubbish{hostIfName: hostIf})
			w.tidy()
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := attached(t)
			w.settleOne(t.Context()) // the pod came
			w.settleOne(t.Context())
			before := w.settled()
			tt.happens(w)
			w.settleOne(t.Context())
			if got := w.settled() - before; before != 1 || got != tt.want {
				t.Errorf("settled %d times before and %d after, want 1 and %d", before, got, tt.want)
			}
			w.settleOne(t.Context())
			if got := w.settled() - before; got != tt.want+1 {
				t.Errorf("settled %d times once it was quiet, want %d", got, tt.want+1)
			}
		})
	}
}

func TestSettlesAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	w.dp.Fail("SettleEndpoint", 1, errors.New("busy"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.settle(ctx) }()
	for times := range 3 {
		for !w.clock.HasWaiters() {
			time.Sleep(time.Millisecond)
		}
		w.clock.Step(settleEvery)
		for w.settled() == times {
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("settle = %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package connection

import (
	"context"
	"errors"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

// counted tells of each sweep, and that it failed.
type counted chan struct{}

func (c counted) SweepConnections() error {
	c <- struct{}{}
	return errors.New("busy")
}

func TestSweepsAgainAndAgain(t *testing.T) {
	clock, swept := testingclock.NewFakeClock(time.Now()), make(counted)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(swept, clock).Start(ctx) }()
	for range 3 {
		for !clock.HasWaiters() {
			time.Sleep(time.Millisecond)
		}
		clock.Step(sweepEvery)
		<-swept
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Start = %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package connection

import (
	"context"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
)

// sweepEvery is how often. A connection that is over holds its port for so much longer at most.
const sweepEvery = 15 * time.Second

// datapath is what the sweeper asks of the kernel.
type datapath interface {
	SweepConnections() error
}

// Sweeper sweeps until it is told to end.
type Sweeper struct {
	datapath datapath
	clock    clock.WithTicker
}

// New returns a Sweeper.
func New(d datapath, c clock.WithTicker) *Sweeper { return &Sweeper{datapath: d, clock: c} }

// Start sweeps until ctx ends.
func (s *Sweeper) Start(ctx context.Context) error {
	ticker := s.clock.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := s.datapath.SweepConnections(); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "Throwing out connections that are over")
			}
		}
	}
}

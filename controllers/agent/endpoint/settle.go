// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package endpoint

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

// settleEvery is how often an endpoint is settled. None is after a time of the same length in which another came or went: the
// kernel holds its lock of all devices for long, and settling the endpoints of a whole node can wait.
const settleEvery = time.Second

// settle has the datapath settle what is attached, one endpoint at a time, until ctx ends.
func (r *Reconciler) settle(ctx context.Context) error {
	tick := r.Clock.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
			r.settleOne(ctx)
		}
	}
}

func (r *Reconciler) settleOne(ctx context.Context) {
	if r.busy.Swap(false) {
		return
	}
	if err := r.Datapath.SettleEndpoint(ctx); err != nil && ctx.Err() == nil {
		ctrl.LoggerFrom(ctx).Error(err, "Settling an endpoint, will try again")
	}
}

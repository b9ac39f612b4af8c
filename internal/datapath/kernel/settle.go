// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"context"
	"fmt"
)

// SettleEndpoint attaches the programs of an endpoint once more, where each packet costs less, if there is one for which
// that was not done. The kernel takes 10 to 20 ms for it, which an ADD has not: for moments in which no endpoint comes or
// goes. It may be any endpoint, so that one for which it fails is in nobody's way.
func (d *Datapath) SettleEndpoint(ctx context.Context) error {
	if err := d.turns.takeLong(ctx); err != nil {
		return err
	}
	defer d.turns.endLong()
	hostIfName, index := d.unsettled()
	if hostIfName == "" || ctx.Err() != nil {
		return ctx.Err()
	}
	if err := d.objects.SettlePod(index); err != nil {
		return fmt.Errorf("settle the programs of %s: %w", hostIfName, err)
	}
	d.settled(hostIfName, index)
	return nil
}

// unsettled is the device of an endpoint that is not settled; no name when all are.
func (d *Datapath) unsettled() (hostIfName string, index int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for name, made := range d.endpoints {
		if !made.settled {
			return name, made.ifc.HostIndex
		}
	}
	return "", 0
}

// settled remembers it of a device, if its endpoint has not gone meanwhile.
func (d *Datapath) settled(hostIfName string, index int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if made := d.endpoints[hostIfName]; made.ifc.HostIndex == index {
		made.settled = true
		d.endpoints[hostIfName] = made
	}
}

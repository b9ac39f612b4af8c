// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ciliate-io/ciliate/internal/datapath/netfilter"
)

// Undo removes every trace of ours from the node but sysctls, which others may rely on by now. Pods lose their network.
// The Datapath is closed.
func (d *Datapath) Undo(ctx context.Context) error {
	d.ensuring.Lock()
	defer d.ensuring.Unlock()
	for _, step := range []func() error{
		d.deletePods,
		d.links.RemoveAllRoutes,
		netfilter.RemoveOldTable,
		netfilter.RemoveUntracked,
		d.objects.DetachSockets,
		d.detachCards,
		d.links.DeleteTunnel,
		d.links.DeleteHost,
	} {
		if err := errors.Join(ctx.Err(), step()); err != nil {
			return err
		}
	}
	return errors.Join(d.Close(), d.unpin())
}

// deletePods removes the devices that say their owner, and those that were left half made.
func (d *Datapath) deletePods() error {
	sides, err := d.links.HostSides()
	if err != nil {
		return err
	}
	for _, side := range sides {
		if side.Owner == "" && side.Up {
			continue
		}
		if err := d.links.DeletePair(side.Name); err != nil {
			return err
		}
	}
	return nil
}

func (d *Datapath) detachCards() error {
	if err := d.objects.KeepWires(); err != nil {
		return err
	}
	cards, err := d.links.Others(nil)
	if err != nil {
		return err
	}
	for _, card := range cards {
		if err := d.objects.DetachNetdev(card.Index); err != nil {
			return fmt.Errorf("detach programs from %s: %w", card.Name, err)
		}
	}
	return nil
}

// unpin removes our folder with all pins.
func (d *Datapath) unpin() error {
	if err := os.RemoveAll(d.cfg.BPFFS); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	return nil
}

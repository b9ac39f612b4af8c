// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"errors"
	"net"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// accelerate has the drivers of the cards forward by XDP, where that is wanted and they can. A program passes everything
// until its card is among the wires, and is taken off after its card is no longer: no packet is lost to either.
func (d *Datapath) accelerate(n *node, cards []link.Device) error {
	running, err := d.attachWires(n, cards)
	if err != nil {
		return err
	}
	wires := map[int]net.HardwareAddr{}
	var keep []int
	for _, card := range running {
		keep = append(keep, card.Index)
		sends, err := d.links.SendsFrames(card.Index)
		if err != nil {
			return err
		}
		if !sends {
			n.plain = append(n.plain, datapath.PlainDevice{Name: card.Name, Reason: reasonNotSending})
			continue
		}
		n.accelerated = append(n.accelerated, card)
		wires[card.Index] = card.MAC
	}
	if err := d.maps.SyncWires(wires); err != nil {
		return err
	}
	return d.objects.KeepWires(keep...)
}

// reasonNotSending is about a card on which the program stays all the same: to put it on and off again resets many a card.
const reasonNotSending = "does not send what XDP leads to it; a veth does while its peer has an XDP program or generic receive offload"

// attachWires returns the cards whose drivers run the program.
func (d *Datapath) attachWires(n *node, cards []link.Device) (running []link.Device, err error) {
	// With hostForwarding: stack no connection is ours to forward.
	if !n.Accelerate || d.cfg.StackForwarding {
		return nil, nil
	}
	for _, card := range cards {
		err := d.attachWire(card)
		if refusal, ok := errors.AsType[*loader.ErrNoXDP](err); ok {
			n.plain = append(n.plain, datapath.PlainDevice{Name: card.Name, Reason: refusal.Reason})
			continue
		}
		if err != nil {
			return nil, err
		}
		running = append(running, card)
	}
	return running, nil
}

func (d *Datapath) attachWire(card link.Device) error {
	if !card.Ethernet {
		return &loader.ErrNoXDP{Reason: "has no MAC address"}
	}
	return d.objects.AttachWire(card.Index)
}

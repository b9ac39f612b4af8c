// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/ciliate-io/ciliate/internal/service"
)

// The sizes of the maps of Services that the fake pretends to have.
const (
	maxFrontends = 65536
	maxBackends  = 262144
	maxRings     = 8192
	maxSources   = 16384
)

func emptyServices() service.State {
	return service.State{
		Frontends: map[service.Frontend]service.Entry{}, Backends: map[service.Slot]netip.AddrPort{},
		Sources: map[uint32][]netip.Prefix{}, Rings: map[uint32]uint64{},
	}
}

// Services returns what was written.
func (d *Datapath) Services() (service.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "Services"); err != nil {
		return service.State{}, err
	}
	return service.State{
		Frontends: maps.Clone(d.services.Frontends), Backends: maps.Clone(d.services.Backends),
		Sources: maps.Clone(d.services.Sources), Rings: maps.Clone(d.services.Rings),
	}, nil
}

// WriteServices remembers a difference.
func (d *Datapath) WriteServices(diff service.Diff) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "WriteServices"); err != nil {
		return err
	}
	for _, s := range diff.PutSources {
		d.services.Sources[s.ID] = append(slices.Clone(d.services.Sources[s.ID]), s.Prefix)
		slices.SortFunc(d.services.Sources[s.ID], netip.Prefix.Compare)
	}
	maps.Copy(d.services.Backends, diff.PutBackends)
	for id, ring := range diff.PutRings {
		d.services.Rings[id] = ring.Sum()
	}
	maps.Copy(d.services.Frontends, diff.PutFrontends)
	for _, frontend := range diff.DeleteFrontends {
		delete(d.services.Frontends, frontend)
	}
	for _, id := range diff.DeleteRings {
		delete(d.services.Rings, id)
	}
	for _, slot := range diff.DeleteBackends {
		delete(d.services.Backends, slot)
	}
	for _, s := range diff.DeleteSources {
		left := slices.DeleteFunc(slices.Clone(d.services.Sources[s.ID]), func(p netip.Prefix) bool { return p == s.Prefix })
		if d.services.Sources[s.ID] = left; len(left) == 0 {
			delete(d.services.Sources, s.ID)
		}
	}
	return nil
}

// ServiceCapacity is how much could be remembered.
func (d *Datapath) ServiceCapacity() service.Capacity {
	return service.Capacity{Frontends: maxFrontends, Backends: maxBackends, Sources: maxSources, Rings: maxRings}
}

// AttachSockets remembers that Services are translated.
func (d *Datapath) AttachSockets() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "AttachSockets"); err != nil {
		return err
	}
	d.sockets = true
	return nil
}

// SocketsAttached tells whether Services are translated.
func (d *Datapath) SocketsAttached() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sockets
}

// DestroySockets records that it was called.
func (d *Datapath) DestroySockets(ctx context.Context, _ []service.Backend) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begin(ctx, "DestroySockets")
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
)

// Endpoints lists what the kernel shows of endpoints: pods' devices, map entries, or both, by device number.
func (d *Datapath) Endpoints(ctx context.Context) ([]datapath.Observed, error) {
	observed, err := d.observe()
	return observed, errors.Join(ctx.Err(), err)
}

func (d *Datapath) observe() ([]datapath.Observed, error) {
	// Maps first: an endpoint that is made meanwhile then shows as a device without entry, not as an entry without
	// device, which would be taken for a leftover.
	entries, err := d.maps.Endpoints()
	if err != nil {
		return nil, err
	}
	sides, err := d.links.HostSides()
	if err != nil {
		return nil, err
	}
	return join(entries, sides), nil
}

// join matches entries with devices by number.
func join(entries []datapath.Observed, sides []link.HostSide) []datapath.Observed {
	joined := slices.Clone(entries)
	for _, side := range sides {
		i := slices.IndexFunc(joined, func(o datapath.Observed) bool { return o.HostIndex == side.Index })
		if i < 0 {
			joined = append(joined, datapath.Observed{HostIndex: side.Index})
			i = len(joined) - 1
		}
		joined[i].UID, joined[i].HostIfName = side.Owner, side.Name
	}
	slices.SortFunc(joined, func(a, b datapath.Observed) int { return cmp.Compare(a.HostIndex, b.HostIndex) })
	return joined
}

// SyncRoutes makes the address table exactly this.
func (d *Datapath) SyncRoutes(routes []datapath.Route) error { return d.maps.SyncRoutes(routes) }

// PutRoutes adds to the address table, or replaces there.
func (d *Datapath) PutRoutes(routes []datapath.Route) error { return d.maps.PutRoutes(routes) }

// DeleteRoutes removes from the address table; what is not there is removed.
func (d *Datapath) DeleteRoutes(prefixes []netip.Prefix) error { return d.maps.DeleteRoutes(prefixes) }

// Routes is the address table.
func (d *Datapath) Routes() ([]datapath.Route, error) { return d.maps.Routes() }

// SyncIdentities makes these the only identities that are taken from the tunnel.
func (d *Datapath) SyncIdentities(ids []datapath.Identity) error { return d.maps.SyncIdentities(ids) }

// PutIdentity allows one more identity.
func (d *Datapath) PutIdentity(id datapath.Identity) error { return d.maps.PutIdentity(id) }

// DeleteIdentity forbids one.
func (d *Datapath) DeleteIdentity(id datapath.Identity) error { return d.maps.DeleteIdentity(id) }

// Counts are the packet counters.
func (d *Datapath) Counts() ([]datapath.Count, error) { return d.maps.Counts() }

// MapUsage is how full the maps are.
func (d *Datapath) MapUsage() ([]datapath.MapUsage, error) { return d.maps.Usage() }

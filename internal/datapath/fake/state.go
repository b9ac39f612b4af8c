// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package fake

import (
	"context"
	"net/netip"
	"slices"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// The sizes of the maps that the fake pretends to have.
const (
	maxEndpoints  = 16384
	maxRoutes     = 262144
	maxIdentities = 65536
)

// SyncRoutes replaces all routes.
func (d *Datapath) SyncRoutes(routes []datapath.Route) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "SyncRoutes"); err != nil {
		return err
	}
	clear(d.routes)
	d.putRoutes(routes)
	return nil
}

// PutRoutes adds or replaces routes.
func (d *Datapath) PutRoutes(routes []datapath.Route) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "PutRoutes"); err != nil {
		return err
	}
	d.putRoutes(routes)
	return nil
}

func (d *Datapath) putRoutes(routes []datapath.Route) {
	for _, route := range routes {
		d.routes[route.Prefix] = route
	}
}

// DeleteRoutes forgets routes.
func (d *Datapath) DeleteRoutes(prefixes []netip.Prefix) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "DeleteRoutes"); err != nil {
		return err
	}
	for _, prefix := range prefixes {
		delete(d.routes, prefix)
	}
	return nil
}

// Routes lists the routes by prefix.
func (d *Datapath) Routes() ([]datapath.Route, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "Routes"); err != nil {
		return nil, err
	}
	var all []datapath.Route
	for _, route := range d.routes {
		all = append(all, route)
	}
	slices.SortFunc(all, func(a, b datapath.Route) int { return a.Prefix.Compare(b.Prefix) })
	return all, nil
}

// SyncIdentities replaces all identities.
func (d *Datapath) SyncIdentities(ids []datapath.Identity) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "SyncIdentities"); err != nil {
		return err
	}
	clear(d.identities)
	for _, id := range ids {
		d.identities[id] = true
	}
	return nil
}

// PutIdentity adds an identity.
func (d *Datapath) PutIdentity(id datapath.Identity) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "PutIdentity"); err != nil {
		return err
	}
	d.identities[id] = true
	return nil
}

// DeleteIdentity forgets an identity.
func (d *Datapath) DeleteIdentity(id datapath.Identity) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "DeleteIdentity"); err != nil {
		return err
	}
	delete(d.identities, id)
	return nil
}

// Counts returns what SetCounts was given.
func (d *Datapath) Counts() ([]datapath.Count, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.counts), d.begin(context.Background(), "Counts")
}

// MapUsage counts what is remembered.
func (d *Datapath) MapUsage() ([]datapath.MapUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(context.Background(), "MapUsage"); err != nil {
		return nil, err
	}
	addresses := 0
	for _, entry := range d.entries {
		addresses += len(entry.Addrs)
	}
	return []datapath.MapUsage{
		{Name: "endpoints", Entries: addresses, MaxEntries: maxEndpoints},
		{Name: "identities", Entries: len(d.identities), MaxEntries: maxIdentities},
		{Name: "ipcache", Entries: len(d.routes), MaxEntries: maxRoutes},
	}, nil
}

// ForeignServices returns what SetForeignServices was given.
func (d *Datapath) ForeignServices() (found bool, who string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.foreign != "", d.foreign, d.begin(context.Background(), "ForeignServices")
}

// Changes tells when Change is called.
func (d *Datapath) Changes(ctx context.Context) (<-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, "Changes"); err != nil {
		return nil, err
	}
	watcher := make(chan struct{}, 1)
	d.watchers = append(d.watchers, watcher)
	context.AfterFunc(ctx, func() { d.unwatch(watcher) })
	return watcher, nil
}

func (d *Datapath) unwatch(watcher chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers = slices.DeleteFunc(d.watchers, func(w chan struct{}) bool { return w == watcher })
	close(watcher)
}

// Undo forgets everything but the sandboxes.
func (d *Datapath) Undo(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(ctx, "Undo"); err != nil {
		return err
	}
	d.node = nil
	clear(d.devices)
	clear(d.entries)
	clear(d.routes)
	clear(d.identities)
	clear(d.announcements)
	d.services, d.sockets = emptyServices(), false
	return nil
}

// Close does nothing: what a datapath made outlives it.
func (d *Datapath) Close() error { return nil }

// SweepConnections records that it was called.
func (d *Datapath) SweepConnections() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begin(context.Background(), "SweepConnections")
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/link"
)

// EnsureInterface makes the pod's pair of devices, configured inside, the node's side down. One that says it belongs to
// this endpoint is adopted as it runs.
func (d *Datapath) EnsureInterface(ctx context.Context, ep datapath.Endpoint) (datapath.Interface, error) {
	n, err := d.known()
	if err != nil {
		return datapath.Interface{}, err
	}
	if err := d.turns.take(ctx); err != nil {
		return datapath.Interface{}, err
	}
	defer d.turns.end()
	ifc, err := d.links.EnsurePair(link.Pair{
		Host: ep.HostIfName, Inside: ep.IfName, Owner: ep.UID, Netns: ep.Netns,
		MTU: n.mtu, Addrs: ep.Addrs, Gateways: ep.Gateways,
	})
	if err != nil {
		return datapath.Interface{}, fmt.Errorf("make interface of endpoint %d: %w", ep.ID, err)
	}
	return ifc, nil
}

// EnsureEndpoint lets the pod talk. Entries and programs are in place before the device comes up; only the routes follow,
// because the kernel refuses routes to a device that is down.
func (d *Datapath) EnsureEndpoint(ctx context.Context, ep datapath.Endpoint, ifc datapath.Interface) error {
	n, err := d.known()
	if err != nil {
		return err
	}
	if err := d.turns.take(ctx); err != nil {
		return err
	}
	defer d.turns.end()
	if err := d.maps.PutEndpoint(ep, ifc); err != nil {
		return err
	}
	settled, err := d.objects.AttachPod(ifc.HostIndex)
	if err != nil {
		return fmt.Errorf("attach programs to %s: %w", ep.HostIfName, err)
	}
	if err := d.links.Up(ifc.HostIndex); err != nil {
		return err
	}
	d.remember(forwarded{endpoint: ep, ifc: ifc, settled: settled})
	for _, route := range endpointRoutes(n, ep, ifc) {
		if err := d.links.EnsureEndpointRoute(route); err != nil {
			return err
		}
		if err := d.links.EnsureNeighbour(ifc.HostIndex, route.Dst.Addr(), ifc.MAC); err != nil {
			return err
		}
	}
	return nil
}

// RemoveEndpoint silences a pod for good: its device goes down, with which its routes go, then its entries. What is
// remembered of its connections is nobody's from then on, also when another pod gets its address. The device itself
// stays for DeleteInterface. Only HostIfName or Addrs need to be known.
func (d *Datapath) RemoveEndpoint(ctx context.Context, ep datapath.Endpoint) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.forget(ep.HostIfName)
	found, err := d.trace(ep)
	if err != nil {
		return err
	}
	if found.HostIndex == 0 {
		return nil
	}
	if err := d.links.Down(found.HostIndex); err != nil {
		return err
	}
	return d.maps.DeleteEndpoint(found.HostIndex, found.Addrs)
}

// trace finds the device and addresses of an endpoint of which little may be known, or little be left. Addresses that
// another device has by now are not its any more.
func (d *Datapath) trace(ep datapath.Endpoint) (datapath.Observed, error) {
	observed, err := d.observe()
	if err != nil {
		return datapath.Observed{}, err
	}
	isIt := func(o datapath.Observed) bool { return ep.HostIfName != "" && o.HostIfName == ep.HostIfName }
	i := slices.IndexFunc(observed, isIt)
	if i < 0 {
		// Its device is gone, but entries by its address may be left.
		i = slices.IndexFunc(observed, func(o datapath.Observed) bool {
			return (ep.HostIfName == "" || o.HostIfName == "") && slices.ContainsFunc(o.Addrs, isIn(ep.Addrs))
		})
	}
	found := datapath.Observed{}
	if i >= 0 {
		found = observed[i]
	}
	found.Addrs = union(found.Addrs, ep.Addrs)
	for j, other := range observed {
		if j != i {
			found.Addrs = slices.DeleteFunc(found.Addrs, isIn(other.Addrs))
		}
	}
	return found, nil
}

func isIn(addrs []netip.Addr) func(netip.Addr) bool {
	return func(a netip.Addr) bool { return slices.Contains(addrs, a) }
}

func union(a, b []netip.Addr) []netip.Addr {
	all := append(slices.Clone(a), b...)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// DeleteInterface removes the pair of devices, once no endpoint is worked on. The kernel takes 20 to 40 ms for it: not for the
// way of a request.
func (d *Datapath) DeleteInterface(ctx context.Context, hostIfName string) error {
	if !datapath.IsHostIfName(hostIfName) {
		return fmt.Errorf("delete device %q: %w", hostIfName, datapath.ErrForeignDevice)
	}
	if err := d.turns.takeLong(ctx); err != nil {
		return err
	}
	defer d.turns.endLong()
	return errors.Join(ctx.Err(), d.links.DeletePair(hostIfName))
}

// known is the node as EnsureNode made it.
func (d *Datapath) known() (*node, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.node == nil {
		return nil, datapath.ErrNoNode
	}
	return d.node, nil
}

func (d *Datapath) remember(made forwarded) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endpoints[made.endpoint.HostIfName] = made
}

func (d *Datapath) forget(hostIfName string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.endpoints, hostIfName)
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// PutEndpoint writes an endpoint under its addresses and its device. The device comes last: with it the pod begins to
// speak. Addresses that the device had before and no longer has are removed.
func (m *Maps) PutEndpoint(ep datapath.Endpoint, ifc datapath.Interface) error {
	byIf, err := entryByIf(ep, ifc)
	if err != nil {
		return fmt.Errorf("endpoint %d: %w", ep.ID, err)
	}
	index := uint32(ifc.HostIndex)
	var old bpfgen.EndpointIf
	if err := m.endpointIfs.Lookup(index, &old); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read endpoint of device %d: %w", ifc.HostIndex, err)
	}
	byAddr := bpfgen.Endpoint{Ifindex: index, Identity: byIf.Identity, Id: byIf.Id, Mac: byIf.Mac, HostMac: byIf.HostMac, Generation: generation(ep)}
	for _, a := range ep.Addrs {
		if err := m.endpoints.Put(key(a), byAddr); err != nil {
			return fmt.Errorf("write endpoint %d under %s: %w", ep.ID, a, err)
		}
	}
	if err := m.endpointIfs.Put(index, byIf); err != nil {
		return fmt.Errorf("write endpoint %d under device %d: %w", ep.ID, ifc.HostIndex, err)
	}
	for _, k := range [][16]byte{old.Addr4.B, old.Addr6.B} {
		if k != byIf.Addr4.B && k != byIf.Addr6.B {
			if err := m.deleteAddress(k, index); err != nil {
				return err
			}
		}
	}
	return nil
}

// generation tells apart the pods that have an address one after the other, and is the same for one pod whichever agent
// asks. 0 means "no pod" in connections.
func generation(ep datapath.Endpoint) uint32 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(ep.UID)) // never fails
	return max(hash.Sum32(), 1)
}

// entryByIf checks the endpoint and lays it out.
func entryByIf(ep datapath.Endpoint, ifc datapath.Interface) (bpfgen.EndpointIf, error) {
	e := bpfgen.EndpointIf{Identity: uint32(ep.Identity), Id: ep.ID}
	if ifc.HostIndex <= 0 {
		return e, fmt.Errorf("%d is no device", ifc.HostIndex)
	}
	if copy(e.Mac[:], ifc.MAC) != len(e.Mac) || copy(e.HostMac[:], ifc.HostMAC) != len(e.HostMac) {
		return e, fmt.Errorf("device %d has no MAC", ifc.HostIndex)
	}
	if len(ep.Addrs) != len(ep.Gateways) {
		return e, fmt.Errorf("%d addresses and %d gateways", len(ep.Addrs), len(ep.Gateways))
	}
	for i, a := range ep.Addrs {
		to, gateway := &e.Addr6.B, &e.Gateway6.B
		if a.Is4() || a.Is4In6() {
			to, gateway = &e.Addr4.B, &e.Gateway4.B
		}
		if *to != [16]byte{} || !a.IsValid() || a.IsUnspecified() {
			return e, fmt.Errorf("address %s is not usable", a)
		}
		*to, *gateway = key(a), key(ep.Gateways[i])
	}
	return e, nil
}

// DeleteEndpoint removes the device's entry first, which silences the pod, and then those of its addresses that still
// belong to this device. Doing it again changes nothing.
func (m *Maps) DeleteEndpoint(ifindex int, addrs []netip.Addr) error {
	index := uint32(ifindex)
	var old bpfgen.EndpointIf
	if err := m.endpointIfs.Lookup(index, &old); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read endpoint of device %d: %w", ifindex, err)
	}
	keys := [][16]byte{old.Addr4.B, old.Addr6.B}
	for _, a := range addrs {
		keys = append(keys, key(a))
	}
	if err := drop(m.endpointIfs, []uint32{index}); err != nil {
		return err
	}
	for _, k := range keys {
		if err := m.deleteAddress(k, index); err != nil {
			return err
		}
	}
	return nil
}

// deleteAddress removes an address unless it is another device's by now.
func (m *Maps) deleteAddress(k [16]byte, index uint32) error {
	if k == [16]byte{} {
		return nil
	}
	var e bpfgen.Endpoint
	err := m.endpoints.Lookup(k, &e)
	if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && e.Ifindex != index {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read endpoint of %s: %w", addr(k), err)
	}
	return drop(m.endpoints, [][16]byte{k})
}

// Endpoints returns what the maps show, by device. An address whose device has no entry is shown with that device's
// number all the same, so that nothing left behind stays unseen.
func (m *Maps) Endpoints() ([]datapath.Observed, error) {
	byIf, err := dump[uint32, bpfgen.EndpointIf](m.endpointIfs)
	if err != nil {
		return nil, err
	}
	byAddr, err := dump[[16]byte, bpfgen.Endpoint](m.endpoints)
	if err != nil {
		return nil, err
	}
	return observed(byIf, byAddr), nil
}

func observed(byIf map[uint32]bpfgen.EndpointIf, byAddr map[[16]byte]bpfgen.Endpoint) []datapath.Observed {
	found := map[uint32]*datapath.Observed{}
	for index, e := range byIf {
		o := &datapath.Observed{HostIndex: int(index), ID: e.Id, Identity: datapath.Identity(e.Identity)}
		for _, k := range [][16]byte{e.Addr4.B, e.Addr6.B} {
			if a := addr(k); a.IsValid() {
				o.Addrs = append(o.Addrs, a)
			}
		}
		found[index] = o
	}
	for k, e := range byAddr {
		o := found[e.Ifindex]
		if o == nil {
			o = &datapath.Observed{HostIndex: int(e.Ifindex), ID: e.Id, Identity: datapath.Identity(e.Identity)}
			found[e.Ifindex] = o
		}
		if a := addr(k); !slices.Contains(o.Addrs, a) {
			o.Addrs = append(o.Addrs, a)
		}
	}
	out := make([]datapath.Observed, 0, len(found))
	for _, o := range found {
		slices.SortFunc(o.Addrs, netip.Addr.Compare)
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b datapath.Observed) int { return cmp.Compare(a.HostIndex, b.HostIndex) })
	return out
}

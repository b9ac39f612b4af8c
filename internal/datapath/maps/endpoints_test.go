// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package maps

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// addresses parses.
func addresses(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func TestEntryByIf(t *testing.T) {
	good := datapath.Interface{HostIndex: 9, MAC: net.HardwareAddr{1, 2, 3, 4, 5, 6}, HostMAC: net.HardwareAddr{6, 5, 4, 3, 2, 1}}
	noMAC, noDevice := good, good
	noMAC.MAC, noDevice.HostIndex = nil, 0
	for name, c := range map[string]struct {
		ep      datapath.Endpoint
		ifc     datapath.Interface
		wantErr string
	}{
		"both families":        {ep: datapath.Endpoint{Addrs: addresses("10.0.0.2", "fd00::2"), Gateways: addresses("10.0.0.1", "fd00::1")}, ifc: good},
		"one family":           {ep: datapath.Endpoint{Addrs: addresses("fd00::2"), Gateways: addresses("fd00::1")}, ifc: good},
		"no device":            {ifc: noDevice, wantErr: "0 is no device"},
		"no MAC":               {ifc: noMAC, wantErr: "device 9 has no MAC"},
		"a missing gateway":    {ep: datapath.Endpoint{Addrs: addresses("fd00::2")}, ifc: good, wantErr: "1 addresses and 0 gateways"},
		"two of one family":    {ep: datapath.Endpoint{Addrs: addresses("fd00::2", "fd00::3"), Gateways: addresses("fd00::1", "fd00::1")}, ifc: good, wantErr: "address fd00::3 is not usable"},
		"the zero address":     {ep: datapath.Endpoint{Addrs: addresses("::"), Gateways: addresses("fd00::1")}, ifc: good, wantErr: "address :: is not usable"},
		"an address not given": {ep: datapath.Endpoint{Addrs: make([]netip.Addr, 1), Gateways: addresses("fd00::1")}, ifc: good, wantErr: "address invalid IP is not usable"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := entryByIf(c.ep, c.ifc)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.wantErr {
				t.Errorf("got %q, want %q", got, c.wantErr)
			}
		})
	}
}

func TestObserved(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	whole := bpfgen.EndpointIf{Identity: 1001, Id: 5}
	whole.Addr4.B, whole.Addr6.B = four.As16(), six.As16()
	byAddr := bpfgen.Endpoint{Ifindex: 9, Identity: 1001, Id: 5}
	for name, c := range map[string]struct {
		byIf   map[uint32]bpfgen.EndpointIf
		byAddr map[[16]byte]bpfgen.Endpoint
		want   []datapath.Observed
	}{
		"nothing": {want: []datapath.Observed{}},
		"a whole endpoint": {
			byIf: map[uint32]bpfgen.EndpointIf{9: whole}, byAddr: map[[16]byte]bpfgen.Endpoint{four.As16(): byAddr, six.As16(): byAddr},
			want: []datapath.Observed{{ID: 5, HostIndex: 9, Addrs: []netip.Addr{four, six}, Identity: 1001}},
		},
		"an address left behind": {
			byAddr: map[[16]byte]bpfgen.Endpoint{six.As16(): byAddr},
			want:   []datapath.Observed{{ID: 5, HostIndex: 9, Addrs: []netip.Addr{six}, Identity: 1001}},
		},
		"devices in order": {
			byIf: map[uint32]bpfgen.EndpointIf{12: {Id: 2}, 3: {Id: 1}},
			want: []datapath.Observed{{ID: 1, HostIndex: 3}, {ID: 2, HostIndex: 12}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := observed(c.byIf, c.byAddr)
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/kernel"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// BenchmarkAddEndpoint tells what ADD costs in the kernel: a pair of devices in a new sandbox, configured, with entries
// and programs, up. It reports medians of the two parts; making the sandbox and taking all away again is not counted.
func BenchmarkAddEndpoint(b *testing.B) {
	n := newNode(b, "192.0.2.1", "2001:db8::1")
	ensure(b, n)
	var interfaces, endpoints []time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		sandbox := lab.New(b)
		ep := benchEndpoint(i, sandbox.Path())
		b.StartTimer()
		start := time.Now()
		ifc, err := n.EnsureInterface(b.Context(), ep)
		if err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if err := n.EnsureEndpoint(b.Context(), ep, ifc); err != nil {
			b.Fatal(err)
		}
		interfaces = append(interfaces, middle.Sub(start))
		endpoints = append(endpoints, time.Since(middle))
		b.StopTimer()
		takeAway(b, n.Datapath, ep)
		b.StartTimer()
	}
	b.ReportMetric(median(interfaces), "ms-interface-p50")
	b.ReportMetric(median(endpoints), "ms-endpoint-p50")
}

// BenchmarkBesideMany tells what removing an endpoint, looking over the node and listing all cost when a hundred others are
// there.
func BenchmarkBesideMany(b *testing.B) {
	const others = 100
	n := newNode(b, "192.0.2.1", "2001:db8::1")
	ensure(b, n)
	for i := range others {
		addEndpoint(b, n.Datapath, benchEndpoint(i, lab.New(b).Path()))
	}
	var took [4][]time.Duration
	for i := others; b.Loop(); i++ {
		ep := benchEndpoint(i, lab.New(b).Path())
		addEndpoint(b, n.Datapath, ep)
		for j, deed := range []func() error{
			func() error { return n.RemoveEndpoint(b.Context(), ep) },
			func() error { return n.DeleteInterface(b.Context(), ep.HostIfName) },
			func() error { _, err := n.EnsureNode(b.Context(), n.want); return err },
			func() error { _, err := n.Endpoints(b.Context()); return err },
		} {
			start := time.Now()
			if err := deed(); err != nil {
				b.Fatal(err)
			}
			took[j] = append(took[j], time.Since(start))
		}
	}
	for j, name := range []string{"remove", "delete", "node", "list"} {
		b.ReportMetric(median(took[j]), "ms-"+name+"-p50")
	}
}

func takeAway(b *testing.B, d *kernel.Datapath, ep datapath.Endpoint) {
	b.Helper()
	if err := d.RemoveEndpoint(b.Context(), ep); err != nil {
		b.Fatal(err)
	}
	if err := d.DeleteInterface(b.Context(), ep.HostIfName); err != nil {
		b.Fatal(err)
	}
}

func benchEndpoint(i int, netns string) datapath.Endpoint {
	return datapath.Endpoint{
		UID: fmt.Sprint("uid-", i), ID: uint16(i%60000 + 1), Netns: netns, IfName: "eth0",
		HostIfName: datapath.HostIfName(fmt.Sprint(i), "eth0"),
		Addrs: []netip.Addr{
			netip.AddrFrom4([4]byte{10, 0, 1, byte(2 + i%250)}),
			netip.MustParseAddr(fmt.Sprintf("fd00:1::%x", 16+i%60000)),
		},
		Gateways: addrs("10.0.1.1", "fd00:1::1"),
		Identity: 300,
	}
}

func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2].Microseconds()) / 1000
}

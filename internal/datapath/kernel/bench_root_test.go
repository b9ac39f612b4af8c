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

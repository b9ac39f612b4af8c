//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
)

// One run of the kernel's is a packet that loses a hop each time and is not restored: it lasts for its hops. Many such
// runs make a figure that repeats within some percent.
const (
	benchHops = 250
	benchRuns = 80
)

// benchmark reports the nanoseconds that one packet takes in a program, as the kernel measures it. All MACs are the same
// here and the device is lo, because those of the frame are changed for good as well.
func benchmark(b *testing.B, cfg loader.Config, r run) {
	w := newBench(b, cfg)
	same := mac{} // That of lo.
	for _, p := range []*pod{w.a, w.b} {
		ifc := p.ifc
		ifc.MAC, ifc.HostMAC = same[:], same[:]
		if p == w.a {
			ifc.HostIndex = w.index(b, "lo")
		}
		must(b, w.maps.PutEndpoint(p.endpoint, ifc))
	}
	program := w.objects.Program(r.program)
	if r.tunnel != (tunnel{}) {
		program = w.behindTunnel(b, r.tunnel)
	}
	r.in.smac, r.in.dmac, r.in.ttl = same, same, 255
	measure(b, w.node, program, r.in)
}

// measure reports the nanoseconds that a packet with all hops takes, inside a node's namespace, and returns the last action.
func measure(b *testing.B, n *node, program *ebpf.Program, in frame) (last uint32) {
	var total time.Duration
	runs := 0
	for b.Loop() {
		n.do(b, func() error {
			for range benchRuns {
				action, d, err := program.Benchmark(in.bytes(), benchHops, nil)
				if err != nil {
					return err
				}
				total, runs, last = total+d, runs+1, action
			}
			return nil
		})
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(total)/float64(runs), "ns/packet")
	return last
}

// BenchmarkPrograms needs root: each program on its most travelled ways.
func BenchmarkPrograms(b *testing.B) {
	for _, c := range []struct {
		name   string
		config loader.Config
		run    run
	}{
		{"from_pod/ipv4/to a pod here", loader.Config{}, run{program: "from_pod", in: frame{src: podA4, dst: podB4, protocol: protoTCP}}},
		{"from_pod/ipv6/to a pod here", loader.Config{}, run{program: "from_pod", in: frame{src: podA6, dst: podB6, protocol: protoTCP}}},
		{"from_pod/ipv4/into the tunnel device", loader.Config{}, run{program: "from_pod", in: frame{src: podA4, dst: remotePod4, protocol: protoTCP}}},
		{"from_pod/ipv6/into the tunnel device", loader.Config{}, run{program: "from_pod", in: frame{src: podA6, dst: remotePod6, protocol: protoTCP}}},
		{"from_pod/ipv4/to the world", loader.Config{}, run{program: "from_pod", in: frame{src: podA4, dst: world4, protocol: protoTCP}}},
		{"from_pod/ipv4/dropped", loader.Config{}, run{program: "from_pod", in: frame{src: podB4, dst: world4, protocol: protoTCP}}},
		{"to_pod/ipv4/from the host", loader.Config{}, run{program: "to_pod", in: frame{src: router4, dst: podA4, protocol: protoTCP}}},
		{"to_pod/ipv6/from the host", loader.Config{}, run{program: "to_pod", in: frame{src: router6, dst: podA6, protocol: protoTCP}}},
		{"from_overlay/ipv4/to a pod here", loader.Config{}, run{tunnel: tunnel{there4, identityRemote}, in: frame{src: remotePod4, dst: podB4, protocol: protoTCP}}},
		{"from_overlay/ipv6/to a pod here", loader.Config{}, run{tunnel: tunnel{there4, identityRemote}, in: frame{src: remotePod6, dst: podB6, protocol: protoTCP}}},
		{"to_overlay/ipv4/from the host", loader.Config{}, run{program: "to_overlay", in: frame{src: router4, dst: remotePod4, protocol: protoTCP}}},
		{"from_netdev/ipv4/to a pod here", loader.Config{Native: true}, run{program: "from_netdev", in: frame{src: remotePod4, dst: podB4, protocol: protoTCP}}},
		{"from_netdev/ipv4/to the host", loader.Config{Native: true}, run{program: "from_netdev", in: frame{src: world4, dst: here4, protocol: protoTCP}}},
		{"from_netdev/ipv4/of the tunnel", loader.Config{}, run{program: "from_netdev", in: frame{src: there4, dst: here4, dport: tunnelPort}}},
		{"to_netdev/ipv4/from the host", loader.Config{}, run{program: "to_netdev", in: frame{src: here4, dst: world4, protocol: protoTCP}}},
	} {
		b.Run(c.name, func(b *testing.B) { benchmark(b, c.config, c.run) })
	}
}

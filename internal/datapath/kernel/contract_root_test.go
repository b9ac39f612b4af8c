// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: every test makes network namespaces, devices and BPF programs.
package kernel_test

import (
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/contract"
	"github.com/ciliate-io/ciliate/internal/datapath/kernel"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

var _ contract.Datapath = &kernel.Datapath{}

func TestContract(t *testing.T) {
	contract.Test(t, newContractNode)
}

func newContractNode(t *testing.T) contract.Node {
	t.Helper()
	n := newNode(t, "192.0.2.1", "2001:db8::1")
	sandboxes := map[string]*lab.Netns{}
	return contract.Node{
		Datapath: n.Datapath,
		MTU:      1500,
		Want:     n.want,
		Sandbox: func() string {
			sandbox := lab.New(t)
			sandboxes[sandbox.Path()] = sandbox
			return sandbox.Path()
		},
		CloseSandbox: func(path string) { sandboxes[path].Close(t) },
		OwnNetns:     n.netns.Path(),
		NoNetns:      t.TempDir(),
	}
}

// testNode is a node with one card whose other end is nobody.
type testNode struct {
	*kernel.Datapath
	netns *lab.Netns
	want  datapath.Node
}

func newNode(t testing.TB, addr4, addr6 string) testNode {
	t.Helper()
	own := lab.Enter(t)
	own.Script(t,
		"ip link add eth0 type veth peer name wire",
		"ip link set eth0 up",
		"ip link set wire up",
		"ip addr add "+addr4+"/24 dev eth0",
		"ip addr add "+addr6+"/64 dev eth0 nodad",
		"ip route add default via 192.0.2.254")
	return testNode{
		Datapath: open(t, datapath.Config{TunnelPort: 8472}),
		netns:    own,
		want: datapath.Node{
			Addrs:      addrs(addr4, addr6),
			PodCIDRs:   prefixes("10.0.1.0/24", "fd00:1::/64"),
			Routers:    addrs("10.0.1.1", "fd00:1::1"),
			Masquerade: true,
			Peers: []datapath.Peer{{
				Name: "two", Addrs: addrs("192.0.2.2", "2001:db8::2"),
				PodCIDRs: prefixes("10.0.2.0/24", "fd00:2::/64"), Routers: addrs("10.0.2.1", "fd00:2::1"),
			}},
		},
	}
}

// open opens a datapath in the calling thread's network namespace, with pins of its own.
func open(t testing.TB, cfg datapath.Config) *kernel.Datapath {
	t.Helper()
	return openAt(t, cfg, filepath.Join(lab.BPFFS(t), "cilium"))
}

// openAt is open over pins that may be there already.
func openAt(t testing.TB, cfg datapath.Config, bpffs string) *kernel.Datapath {
	t.Helper()
	cfg.BPFFS = bpffs
	d, err := kernel.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func ensure(t testing.TB, n testNode) datapath.NodeState {
	t.Helper()
	state, err := n.EnsureNode(t.Context(), n.want)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

// TestSettlingLosesNothing settles pods that talk, and has agents come back before, amid and after it.
func TestSettlingLosesNothing(t *testing.T) {
	native := modes()["native"].cfg
	native.DirectReturn = true // nothing to these pods, but other programs do it
	tunnel, stack := modes()["tunnel"], modes()["tunnel, through the stack"]
	tests := map[string]struct {
		mode mode
		// next is what the last agent is told.
		next datapath.Config
		// wantChanges is what TCX is told of each pod: its beginning, a program, and another in its place.
		wantChanges uint64
	}{
		"tunnel, the same version":                    {mode: tunnel, next: tunnel.cfg, wantChanges: 2},
		"tunnel, through the stack, the same version": {mode: stack, next: stack.cfg, wantChanges: 2},
		"native, another version":                     {mode: modes()["native"], next: native, wantChanges: 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, tt.mode)
			n := c.nodes[0]
			stop := c.flood(t)
			n.settle(t)
			n.comeBack(t, tt.mode.cfg)
			for _, node := range c.nodes {
				node.settle(t)
				node.settle(t)
			}
			n.comeBack(t, tt.next)
			stop()
			for _, p := range n.pods {
				if diff := cmp.Diff(n.settledHooks(t, tt.wantChanges), n.hooks(t, p)); diff != "" {
					t.Errorf("hooks of %s (-want +got):\n%s", p.HostIfName, diff)
				}
			}
		})
	}
}

// comeBack is an agent that starts on a node with pods.
func (n *clusterNode) comeBack(t *testing.T, cfg datapath.Config) {
	t.Helper()
	n.restart(t, cfg)
	n.ensureNode(t)
	n.netns.Do(t, func() {
		for _, p := range n.pods {
			n.ensurePod(t, p)
		}
	})
}

func (n *clusterNode) settle(t *testing.T) {
	t.Helper()
	n.netns.Do(t, func() {
		if err := n.SettleEndpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// hooks are those of a pod's device that run a program.
type hooks struct {
	IngressFilters, EgressFilters, TCXPrograms int
	// Changes counts what TCX was ever told.
	Changes uint64
}

func (n *clusterNode) hooks(t *testing.T, p *pod) (found hooks) {
	t.Helper()
	for side, count := range map[string]*int{"ingress": &found.IngressFilters, "egress": &found.EgressFilters} {
		out := n.netns.Run(t, "tc", "filter", "show", "dev", p.HostIfName, side)
		*count = strings.Count(out, "direct-action")
	}
	programs := n.programs(t, p.ifc.HostIndex)
	found.TCXPrograms, found.Changes = len(programs.Programs), programs.Revision
	return found
}

// settledHooks are those of a settled pod's device.
func (n *clusterNode) settledHooks(t *testing.T, changes uint64) hooks {
	t.Helper()
	if n.programs(t, 1).Revision == 0 {
		return hooks{IngressFilters: 1, EgressFilters: 1} // a kernel without TCX
	}
	return hooks{EgressFilters: 1, TCXPrograms: 1, Changes: changes}
}

// programs are those that a device runs by TCX as its ingress; none, of no revision, on a kernel without TCX.
func (n *clusterNode) programs(t *testing.T, ifindex int) *link.QueryResult {
	t.Helper()
	found := &link.QueryResult{}
	n.netns.Do(t, func() {
		if result, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress}); err == nil {
			found = result
		}
	})
	return found
}

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/kernel"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// TestRestartLosesNothing closes and opens both datapaths, as restarted agents would, while pods talk.
func TestRestartLosesNothing(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, m)
			stop := c.flood(t)
			for i, n := range c.nodes {
				before := n.pods[0].ifc
				n.restart(t, m.cfg)
				n.ensureNode(t)
				n.netns.Do(t, func() { n.ensurePod(t, n.pods[0]) })
				c.tell(t, i)
				if after := n.pods[0].ifc; after.HostIndex != before.HostIndex {
					t.Errorf("the pod's device was replaced: %+v, before %+v", after, before)
				}
			}
			stop()
		})
	}
}

// restart opens the datapath again over its pins.
func (n *clusterNode) restart(t *testing.T, cfg datapath.Config) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n.netns.Do(t, func() { n.Datapath = openAt(t, cfg, n.bpffs) })
}

// TestRoutingModeCanChange restarts nodes with the other mode, and back.
func TestRoutingModeCanChange(t *testing.T) {
	c := newCluster(t, modes()["tunnel"])
	for _, name := range []string{"native", "tunnel", "native"} {
		m := modes()[name]
		for i, n := range c.nodes {
			n.restart(t, m.cfg)
			n.ensureNode(t)
			for _, p := range n.pods {
				n.netns.Do(t, func() { n.ensurePod(t, p) })
			}
			c.tell(t, i)
			hasTunnel := strings.Contains(n.netns.Run(t, "ip", "link"), "cilium_vxlan")
			if hasTunnel == m.cfg.Native {
				t.Errorf("%s: tunnel device there: %v", name, hasTunnel)
			}
		}
		for _, path := range c.paths() {
			for _, to := range path.to {
				c.wantPing(t, path, to, m.mtu-48)
			}
		}
	}
}

// TestUndoLeavesNothing compares a node before and after.
func TestUndoLeavesNothing(t *testing.T) {
	for name, m := range modes() {
		t.Run(name, func(t *testing.T) {
			world := lab.Enter(t)
			c := &cluster{world: world}
			world.Script(t, "ip link add br0 type bridge", "ip link set br0 up")
			n := c.newNode(t, 1, m)
			n.netns.Settle(t)
			before := n.traces(t)
			n.want.Peers = []datapath.Peer{{
				Name: "two", Addrs: addrs("192.0.2.2", "2001:db8::2"), PodCIDRs: prefixes("10.0.2.0/24", "fd00:2::/64"),
			}}
			n.ensureNode(t)
			n.newPod(t, 7)
			n.newPod(t, 8)
			n.settle(t) // one of the two
			n.netns.Do(t, func() {
				if err := n.Undo(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
			if after := n.traces(t); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if _, err := os.Stat(n.bpffs); !os.IsNotExist(err) {
				t.Errorf("pins are left in %s: %v", n.bpffs, err)
			}
		})
	}
}

// traces is all that a datapath may leave behind.
func (n *clusterNode) traces(t *testing.T) string {
	t.Helper()
	return n.netns.Run(t, "sh", "-c", "ip -br link; ip -br addr; ip route; ip -6 route; nft list ruleset; tc filter show dev eth0 ingress; tc filter show dev eth0 egress")
}

// TestRouterAddressCanChange looks for pods' routes, which the kernel drops with their source address.
func TestRouterAddressCanChange(t *testing.T) {
	c := newCluster(t, modes()["tunnel"])
	n := c.nodes[0]
	n.want.Routers = addrs("10.0.1.2", "fd00:1::2")
	n.ensureNode(t)
	c.tell(t, 0)
	c.tell(t, 1)
	pod := n.pods[0]
	path := path{name: "node to its pod", from: n.netns, at: pod.netns, to: pod.Addrs, source: n.want.Routers}
	for _, to := range path.to {
		c.wantConnect(t, path, to)
	}
}

// TestMTUFollowsTheCard makes the card smaller and expects to be told.
func TestMTUFollowsTheCard(t *testing.T) {
	n := newNode(t, "192.0.2.1", "2001:db8::1")
	ensure(t, n)
	sandbox := lab.New(t)
	ep := benchEndpoint(1, sandbox.Path())
	first := addEndpoint(t, n.Datapath, ep)
	changes, err := n.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.netns.Script(t, "ip link set eth0 mtu 1400")
	select {
	case <-changes:
	case <-time.After(patience):
		t.Fatal("no change was told")
	}
	if state := ensure(t, n); state.MTU != 1350 {
		t.Errorf("MTU = %d, want 1350", state.MTU)
	}
	second := addEndpoint(t, n.Datapath, ep)
	if second.HostIndex != first.HostIndex || second.MTU != 1350 {
		t.Errorf("interface = %+v, want that of before, %+v, with MTU 1350", second, first)
	}
	if out := sandbox.Run(t, "ip", "link", "show", "eth0"); !strings.Contains(out, "mtu 1350") {
		t.Errorf("the pod's MTU is another:\n%s", out)
	}
}

// TestRightNodeStaysSilent: who looks over a node in which nothing is to be done must not be told of a change by that, or
// he would look again without end.
func TestRightNodeStaysSilent(t *testing.T) {
	const quiet = time.Second
	n := newNode(t, "192.0.2.1", "2001:db8::1")
	ensure(t, n)
	n.netns.Settle(t)
	addEndpoint(t, n.Datapath, benchEndpoint(1, lab.New(t).Path()))
	changes, err := n.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, n)
	select {
	case <-changes:
		t.Error("a change was told")
	case <-time.After(quiet):
	}
}

// TestManyAtOnce adds and removes fifty endpoints from as many goroutines.
func TestManyAtOnce(t *testing.T) {
	const many = 50
	n := newNode(t, "192.0.2.1", "2001:db8::1")
	ensure(t, n)
	var endpoints []datapath.Endpoint
	for i := range many {
		endpoints = append(endpoints, benchEndpoint(i, lab.New(t).Path()))
	}
	start := time.Now()
	atOnce(t, n, endpoints, func(ep datapath.Endpoint) error {
		ifc, err := n.EnsureInterface(t.Context(), ep)
		if err != nil {
			return err
		}
		return n.EnsureEndpoint(t.Context(), ep, ifc)
	})
	t.Logf("the last of %d was added after %s", many, time.Since(start))
	wantEndpoints(t, n.Datapath, many)
	atOnce(t, n, endpoints, func(ep datapath.Endpoint) error {
		if err := n.RemoveEndpoint(t.Context(), ep); err != nil {
			return err
		}
		return n.DeleteInterface(t.Context(), ep.HostIfName)
	})
	wantEndpoints(t, n.Datapath, 0)
}

// atOnce does the deed for all endpoints, each on a thread in the node.
func atOnce(t *testing.T, n testNode, endpoints []datapath.Endpoint, deed func(datapath.Endpoint) error) {
	t.Helper()
	var all sync.WaitGroup
	for _, ep := range endpoints {
		all.Go(func() {
			if err := n.netns.OnThread(func() error { return deed(ep) }); err != nil {
				t.Errorf("endpoint %d: %v", ep.ID, err)
			}
		})
	}
	all.Wait()
}

func wantEndpoints(t *testing.T, d *kernel.Datapath, want int) {
	t.Helper()
	observed, err := d.Endpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	complete := 0
	for _, o := range observed {
		if o.UID != "" && o.ID != 0 && len(o.Addrs) == 2 {
			complete++
		}
	}
	if complete != want || len(observed) != want {
		t.Errorf("%d endpoints are shown, %d complete, want %d", len(observed), complete, want)
	}
}

func addEndpoint(t testing.TB, d *kernel.Datapath, ep datapath.Endpoint) datapath.Interface {
	t.Helper()
	ifc, err := d.EnsureInterface(t.Context(), ep)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.EnsureEndpoint(t.Context(), ep, ifc); err != nil {
		t.Fatal(err)
	}
	return ifc
}

// TestOpenRefuses tries folders and sysctls that cannot work.
func TestOpenRefuses(t *testing.T) {
	lab.Enter(t)
	_, err := kernel.Open(t.Context(), datapath.Config{TunnelPort: 8472, BPFFS: filepath.Join(t.TempDir(), "cilium")})
	if !errors.Is(err, datapath.ErrNoBPFFS) {
		t.Errorf("error = %v, want %v", err, datapath.ErrNoBPFFS)
	}
}

// TestPodCannotReachNobody asks for an address of the node's range that no pod has: the answer must come at once.
func TestPodCannotReachNobody(t *testing.T) {
	c := newCluster(t, modes()["tunnel"])
	for _, to := range addrs("10.0.1.200", "fd00:1::200") {
		start := time.Now()
		out, err := c.nodes[0].netns.Try(t, "ping", "-n", "-c1", "-W3", to.String())
		if err == nil || time.Since(start) > 2*time.Second {
			t.Errorf("ping %s took %s: %v\n%s", to, time.Since(start), err, out)
		}
	}
	if out := c.nodes[0].netns.Run(t, "ip", "route", "get", "10.0.2.9"); !strings.Contains(out, "cilium_vxlan") {
		t.Errorf("another node's pods are not reached by the tunnel: %s", out)
	}
}

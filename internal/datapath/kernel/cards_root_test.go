// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// TestCardsComeAndGo follows default routes and addresses with programs.
func TestCardsComeAndGo(t *testing.T) {
	for _, native := range []bool{false, true} {
		t.Run(fmt.Sprintf("native %v", native), func(t *testing.T) {
			node := lab.Enter(t)
			bpffs := filepath.Join(lab.BPFFS(t), "cilium")
			addCard(t, node, "eth0", "192.0.2.1/24")
			d := openAt(t, datapath.Config{TunnelPort: 8472, Native: native}, bpffs)
			want := datapath.Node{Addrs: addrs("192.0.2.1"), PodCIDRs: prefixes("10.0.1.0/24"), Routers: addrs("10.0.1.1")}
			n := testNode{Datapath: d, netns: node, want: want}
			both := []string{"eth0", "eth1"}
			wantCards(t, n, bpffs, both[:1], both[:1])
			addCard(t, node, "eth1", "198.51.100.1/24")
			wantCards(t, n, bpffs, both[:1], both)
			node.Script(t, "ip route add default via 198.51.100.254")
			wantCards(t, n, bpffs, both, both)
			node.Script(t, "ip route del default", "ip addr flush dev eth1")
			wantCards(t, n, bpffs, both[:1], both[:1])
		})
	}
}

func addCard(t *testing.T, node *lab.Netns, name, addr string) {
	t.Helper()
	node.Script(t, "ip link add "+name+" mtu 1500 type veth peer name wire-"+name, "ip link set "+name+" up",
		"ip link set wire-"+name+" up", "ip addr add "+addr+" dev "+name)
}

// wantCards ensures the node and compares the cards it names, and the devices that run programs: by pinned links, or by
// filters where the kernel has no TCX.
func wantCards(t *testing.T, n testNode, bpffs string, cards, programs []string) {
	t.Helper()
	if got := ensure(t, n).Devices; !slices.Equal(got, cards) {
		t.Errorf("devices = %v, want %v", got, cards)
	}
	pins, err := os.ReadDir(filepath.Join(bpffs, "links"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"eth0", "eth1"} {
		index := strings.TrimSpace(n.netns.Run(t, "sh", "-c", "ip -o link show "+name+" 2>/dev/null | cut -d: -f1"))
		attached := index != "" && slices.ContainsFunc(pins, func(pin os.DirEntry) bool {
			return strings.HasSuffix(pin.Name(), "-"+index)
		})
		filters, err := n.netns.Try(t, "tc", "filter", "show", "dev", name, "egress")
		attached = attached || err == nil && strings.Contains(filters, "to_netdev")
		if attached != slices.Contains(programs, name) {
			t.Errorf("%s has programs: %v, want %v", name, attached, slices.Contains(programs, name))
		}
	}
}

// TestCardWithoutMACs has a tunnel of another owner as its only way out.
func TestCardWithoutMACs(t *testing.T) {
	tests := map[string]struct {
		native, refused bool
	}{
		"our tunnel runs over it":         {},
		"pods cannot be routed by it yet": {native: true, refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node := lab.Enter(t)
			node.Script(t, "ip tuntap add mode tun dev tun0", "ip link set tun0 mtu 1400 up", "ip addr add 192.0.2.1/24 dev tun0")
			d := open(t, datapath.Config{TunnelPort: 8472, Native: tt.native})
			state, err := d.EnsureNode(t.Context(), datapath.Node{
				Addrs: addrs("192.0.2.1"), PodCIDRs: prefixes("10.0.1.0/24"), Routers: addrs("10.0.1.1"),
			})
			if refused := err != nil; refused != tt.refused {
				t.Errorf("error = %v, want one: %v", err, tt.refused)
			}
			if !tt.refused && state.MTU != 1350 {
				t.Errorf("MTU = %d, want 1350", state.MTU)
			}
		})
	}
}

// TestTunnelPortTaken names the device in the way.
func TestTunnelPortTaken(t *testing.T) {
	n := newNode(t, "192.0.2.1", "2001:db8::1")
	n.netns.Script(t, "ip link add flannel.1 type vxlan id 1 dstport 8472", "ip link set flannel.1 up")
	_, err := n.EnsureNode(t.Context(), n.want)
	if !errors.Is(err, datapath.ErrTunnelPortInUse) || !strings.Contains(err.Error(), "flannel.1") {
		t.Errorf("error = %v, want %v naming flannel.1", err, datapath.ErrTunnelPortInUse)
	}
	n.netns.Script(t, "ip link del flannel.1")
	ensure(t, n)
}

// TestIPVSIsForeign knows kube-proxy by its device.
func TestIPVSIsForeign(t *testing.T) {
	n := newNode(t, "192.0.2.1", "2001:db8::1")
	n.netns.Script(t, "ip link add kube-ipvs0 type bridge")
	found, who, err := n.ForeignServices()
	if !found || !strings.Contains(who, "kube-ipvs0") || err != nil {
		t.Errorf("ForeignServices = %v, %q, %v", found, who, err)
	}
}

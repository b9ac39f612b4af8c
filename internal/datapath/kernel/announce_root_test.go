// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

package kernel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

// TestNeighbourLearnsAnnouncedAddresses asks and listens from the other end of the card's wire.
func TestNeighbourLearnsAnnouncedAddresses(t *testing.T) {
	for family, addr := range map[string]string{"IPv4": "192.0.2.200", "IPv6": "2001:db8::200"} {
		for _, native := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, native %v", family, native), func(t *testing.T) {
				n := newNode(t, "192.0.2.1", "2001:db8::1")
				n.Datapath = open(t, datapath.Config{TunnelPort: 8472, Native: native})
				ensure(t, n)
				there := lab.New(t)
				n.netns.Run(t, "ip", "link", "set", "wire", "netns", there.Path())
				there.Script(t, "ip link set wire up", "ip addr add 192.0.2.9/24 dev wire", "ip addr add 2001:db8::9/64 dev wire nodad")
				card := strings.Fields(n.netns.Run(t, "ip", "-br", "link", "show", "eth0"))[2]
				list := []datapath.Announcement{{Addr: addrs(addr)[0], Device: "eth0"}}

				there.Script(t, "ip neigh replace "+addr+" lladdr 02:00:00:00:00:99 dev wire nud stale")
				mustDo(t, n.Announce(list, time.Minute))
				wantNeighbour(t, there, addr, card, "it was told")
				ask(t, there, addr)
				wantNeighbour(t, there, addr, card, "it asked")

				mustDo(t, n.Withdraw(list))
				ask(t, there, addr)
				wantNeighbour(t, there, addr, "", "nobody answers for what was withdrawn")
				mustDo(t, n.Announce(list, time.Millisecond))
				ask(t, there, addr)
				wantNeighbour(t, there, addr, "", "nobody answers for what was not announced again")
			})
		}
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask makes the kernel of a namespace forget who has an address, and find out.
func ask(t *testing.T, where *lab.Netns, addr string) {
	t.Helper()
	where.Script(t, "ip neigh flush dev wire")
	_, _ = where.Try(t, "ping", "-n", "-c1", "-W1", addr) // Nobody answers: the question alone counts.
}

// wantNeighbour compares whom a namespace believes to have an address; empty for nobody.
func wantNeighbour(t *testing.T, where *lab.Netns, addr, mac, why string) {
	t.Helper()
	entry := where.Run(t, "ip", "neigh", "show", addr, "dev", "wire")
	if found := strings.Contains(entry, "lladdr"); found != (mac != "") || !strings.Contains(entry, mac) {
		t.Errorf("%s: the neighbour is %q, want %q", why, strings.TrimSpace(entry), mac)
	}
}

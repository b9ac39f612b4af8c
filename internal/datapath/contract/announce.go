// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package contract

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ciliate-io/ciliate/internal/datapath"
)

func announcements(t *testing.T, n Node) {
	if cards := n.Datapath.Cards(); len(cards) > 0 {
		t.Errorf("cards = %v before the node", cards)
	}
	ensureNode(t, n)
	cards := n.Datapath.Cards()
	if len(cards) == 0 {
		t.Fatal("the node has no cards")
	}
	four := datapath.Announcement{Addr: netip.MustParseAddr("192.0.2.200"), Device: cards[0]}
	six := datapath.Announcement{Addr: netip.MustParseAddr("2001:db8::200"), Device: cards[0]}
	for range 2 {
		must(t, n.Datapath.Announce([]datapath.Announcement{four, six}, time.Minute))
		wantAnnouncements(t, n, four, six)
	}
	for range 2 {
		must(t, n.Datapath.Withdraw([]datapath.Announcement{four}))
		wantAnnouncements(t, n, six)
	}
	ensureNode(t, n)
	wantAnnouncements(t, n, six)
	four.Device = "nowhere"
	wantError(t, n.Datapath.Announce([]datapath.Announcement{four}, time.Minute), datapath.ErrNoDevice)
	must(t, n.Datapath.Withdraw([]datapath.Announcement{four}))
	wantAnnouncements(t, n, six)
}

func wantAnnouncements(t *testing.T, n Node, want ...datapath.Announcement) {
	t.Helper()
	got, err := n.Datapath.Announcements()
	must(t, err)
	sorted := cmpopts.SortSlices(func(a, b datapath.Announcement) bool { return a.Addr.Less(b.Addr) })
	if diff := cmp.Diff(want, got, sorted, addresses(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("announcements (-want +got):\n%s", diff)
	}
}

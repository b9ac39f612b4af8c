// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it makes devices in network namespaces and attaches programs to them.
package loader

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

func TestNetdevRunsEachProgramOnce(t *testing.T) {
	tunnel, native := Config{TunnelPort: 8472}, Config{TunnelPort: 8472, Native: true}
	tests := map[string]struct {
		deeds func(t *testing.T, bpffs string, card int) *Objects
		want  map[string]int
	}{
		"a card": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects { return attached(t, native, bpffs, card) },
			want:  map[string]int{"from_netdev": 1, "to_netdev": 1},
		},
		"the same again": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects {
				attached(t, native, bpffs, card)
				return attached(t, native, bpffs, card)
			},
			want: map[string]int{"from_netdev": 1, "to_netdev": 1},
		},
		"from native routing to the tunnel": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects {
				attached(t, native, bpffs, card)
				return attached(t, tunnel, bpffs, card)
			},
			want: map[string]int{"from_netdev": 1, "to_netdev": 1},
		},
		"filters of a kernel without TCX": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects {
				o := loaded(t, native, bpffs)
				for _, p := range cardPlaces() {
					if err := o.attachPlaceFilter(card, p); err != nil {
						t.Fatal(err)
					}
				}
				return attached(t, native, bpffs, card)
			},
			want: map[string]int{"from_netdev": 1, "to_netdev": 1},
		},
		"a card that is let go": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects {
				o := attached(t, native, bpffs, card)
				if err := o.DetachNetdev(card); err != nil {
					t.Fatal(err)
				}
				return o
			},
			want: map[string]int{},
		},
		"the tunnel device": {
			deeds: func(t *testing.T, bpffs string, device int) *Objects {
				return attachedOverlay(t, tunnel, bpffs, device)
			},
			want: map[string]int{"from_overlay": 1, "to_overlay": 1},
		},
		"the tunnel device, filters of a kernel without TCX": {
			deeds: func(t *testing.T, bpffs string, device int) *Objects {
				o := loaded(t, tunnel, bpffs)
				for _, p := range overlayPlaces() {
					if err := o.attachPlaceFilter(device, p); err != nil {
						t.Fatal(err)
					}
				}
				return attachedOverlay(t, tunnel, bpffs, device)
			},
			want: map[string]int{"from_overlay": 1, "to_overlay": 1},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			lab.Enter(t)
			card := newCard(t)
			o := tt.deeds(t, lab.BPFFS(t), card)
			// The kernel takes off the program of a link that is gone a moment later.
			var diff string
			for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				if diff = cmp.Diff(tt.want, running(t, o, card)); diff == "" {
					return
				}
			}
			t.Errorf("programs on the card (-want +got):\n%s", diff)
		})
	}
}

func TestLinksGoWithTheirDevice(t *testing.T) {
	lab.Enter(t)
	bpffs := lab.BPFFS(t)
	card := newCard(t)
	wire, err := netlink.LinkByName("wire")
	if err != nil {
		t.Fatal(err)
	}
	o := attached(t, Config{TunnelPort: 8472}, bpffs, card)
	if err := o.AttachOverlay(wire.Attrs().Index); err != nil {
		t.Fatal(err)
	}
	before := pinnedLinks(t, o)
	if want := len(cardPlaces()) + len(overlayPlaces()); o.tcx && len(before) != want {
		t.Fatalf("pinned links = %v, want %d: the test proves nothing", before, want)
	}
	if err := o.PruneLinks(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, pinnedLinks(t, o)); diff != "" {
		t.Errorf("links of living devices (-before +after):\n%s", diff)
	}
	if err := netlink.LinkDel(wire); err != nil {
		t.Fatal(err)
	}
	if err := o.PruneLinks(); err != nil {
		t.Fatal(err)
	}
	if left := pinnedLinks(t, o); len(left) != 0 {
		t.Errorf("links of devices that are gone: %v", left)
	}
}

// pinnedLinks are none on a kernel without TCX.
func pinnedLinks(t *testing.T, o *Objects) []string {
	t.Helper()
	pins, err := filepath.Glob(filepath.Join(o.links, "*-*"))
	if err != nil {
		t.Fatal(err)
	}
	return pins
}

func newCard(t *testing.T) int {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "card"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wire"}); err != nil {
		t.Fatal(err)
	}
	device, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		t.Fatal(err)
	}
	return device.Attrs().Index
}

func loaded(t *testing.T, cfg Config, bpffs string) *Objects {
	t.Helper()
	o, err := Load(cfg, bpffs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// attached is the card as a started agent leaves it.
func attached(t *testing.T, cfg Config, bpffs string, card int) *Objects {
	t.Helper()
	o := loaded(t, cfg, bpffs)
	if err := o.AttachNetdev(card); err != nil {
		t.Fatal(err)
	}
	return o
}

// attachedOverlay is the tunnel device as a started agent leaves it.
func attachedOverlay(t *testing.T, cfg Config, bpffs string, device int) *Objects {
	t.Helper()
	o := loaded(t, cfg, bpffs)
	if err := o.AttachOverlay(device); err != nil {
		t.Fatal(err)
	}
	return o
}

// running counts the programs on a device of the node, by links and by filters.
func running(t *testing.T, o *Objects, card int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, p := range append(cardPlaces(), overlayPlaces()...) {
		f, err := o.filter(card, p.side)
		if err != nil {
			t.Fatal(err)
		}
		if f != nil && f.Id == int(o.programs[p.program].id) {
			count[p.program]++
		}
		// An error is a kernel without TCX, on which there is nothing of the kind.
		links, err := link.QueryPrograms(link.QueryOptions{Target: card, Attach: p.tcx})
		if err != nil {
			continue
		}
		for _, l := range links.Programs {
			if l.ID == o.programs[p.program].id {
				count[p.program]++
			}
		}
	}
	return count
}

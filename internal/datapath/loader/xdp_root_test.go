// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it makes devices in network namespaces and attaches programs to them.
package loader

import (
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/ciliate-io/ciliate/internal/datapath/lab"
)

func TestWireRunsTheProgramOfNow(t *testing.T) {
	tunnel, native := Config{TunnelPort: 8472}, Config{TunnelPort: 8472, Native: true}
	tests := map[string]struct {
		deeds   func(t *testing.T, bpffs string, card int) *Objects
		running bool
	}{
		"once": {
			deeds:   func(t *testing.T, bpffs string, card int) *Objects { return wired(t, native, bpffs, card) },
			running: true,
		},
		"by an agent that restarts": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects {
				wired(t, native, bpffs, card)
				return wired(t, native, bpffs, card)
			},
			running: true,
		},
		"by an agent of another configuration": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects {
				wired(t, tunnel, bpffs, card)
				return wired(t, native, bpffs, card)
			},
			running: true,
		},
		"no longer": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects {
				o := wired(t, native, bpffs, card)
				if err := errors.Join(o.KeepWires(card+1), o.KeepWires()); err != nil {
					t.Fatal(err)
				}
				return o
			},
		},
		"again after that": {
			deeds: func(t *testing.T, bpffs string, card int) *Objects {
				o := wired(t, native, bpffs, card)
				if err := o.KeepWires(); err != nil {
					t.Fatal(err)
				}
				return wired(t, native, bpffs, card)
			},
			running: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			lab.Enter(t)
			card := newCard(t)
			o := tt.deeds(t, lab.BPFFS(t), card)
			want := uint32(0)
			if tt.running {
				want = uint32(o.programs["from_wire"].id)
			}
			// The kernel takes off the program of a link that is gone a moment later.
			var got uint32
			for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				if got = xdpOn(t, card); got == want {
					return
				}
			}
			t.Errorf("XDP program %d is on the card, want %d", got, want)
		})
	}
}

// TestWireOfADeviceThatIsGone has the next device with its number not taken for it.
func TestWireOfADeviceThatIsGone(t *testing.T) {
	lab.Enter(t)
	card, bpffs := newCard(t), lab.BPFFS(t)
	o := wired(t, Config{}, bpffs, card)
	if err := netlink.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: card}}); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = "card", card
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wire"}); err != nil {
		t.Fatal(err)
	}
	if err := o.AttachWire(card); err != nil {
		t.Fatal(err)
	}
	if got, want := xdpOn(t, card), uint32(o.programs["from_wire"].id); got != want {
		t.Errorf("XDP program %d is on the new card, want %d", got, want)
	}
}

// TestWireOfAnotherOwner finds a program by a link; package kernel has one by netlink.
func TestWireOfAnotherOwner(t *testing.T) {
	lab.Enter(t)
	card := newCard(t)
	other := loaded(t, Config{Native: true}, lab.BPFFS(t))
	l, err := link.AttachXDP(link.XDPOptions{Interface: card, Program: other.Program("from_wire")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused, ok := errors.AsType[*ErrNoXDP](loaded(t, Config{}, lab.BPFFS(t)).AttachWire(card))
	if want := "runs an XDP program of another owner"; !ok || refused.Reason != want {
		t.Errorf("AttachWire = %v, want that the device %s", refused, want)
	}
	if got := ebpf.ProgramID(xdpOn(t, card)); got != other.programs["from_wire"].id {
		t.Errorf("XDP program %d is on the card, want the other owner's", got)
	}
}

// wired is the card as a started agent leaves it.
func wired(t *testing.T, cfg Config, bpffs string, card int) *Objects {
	t.Helper()
	o := loaded(t, cfg, bpffs)
	if err := o.AttachWire(card); err != nil {
		t.Fatal(err)
	}
	return o
}

// xdpOn is the number of the program on a card, 0 when there is none.
func xdpOn(t *testing.T, card int) uint32 {
	t.Helper()
	device, err := netlink.LinkByIndex(card)
	if err != nil {
		t.Fatal(err)
	}
	if device.Attrs().Xdp == nil {
		return 0
	}
	return device.Attrs().Xdp.ProgId
}

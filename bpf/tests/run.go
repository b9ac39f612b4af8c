//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
)

// What programs return.
const (
	pass     = 0
	drop     = 2
	redirect = 7
	next     = 0xffffffff
)

// Marks, as bpf/lib/identity.h has them.
const (
	markIdentity = 0x0f00
	markKeyed    = 0x0e00
)

// mark is an identity's.
func mark(id datapath.Identity) uint32 { return markIdentity | uint32(id)<<16 }

// Where everything is in the tests' world: this node and its pods a and b, and another node with a pod.
const (
	router4, router6       = "10.0.1.1", "fd00:1::1"
	podA4, podA6           = "10.0.1.2", "fd00:1::2"
	podB4, podB6           = "10.0.1.3", "fd00:1::3"
	nobody4, nobody6       = "10.0.1.99", "fd00:1::99"
	here4, here6           = "192.168.9.1", "fd99::1"
	there4, there6         = "192.168.9.2", "fd99::2"
	third4                 = "192.168.9.3"
	remotePod4, remotePod6 = "10.0.2.2", "fd00:2::2"
	remoteNew4, remoteNew6 = "10.0.2.77", "fd00:2::77"
	remoteRouter4          = "10.0.2.1"
	remoteRouter6          = "fd00:2::1"
	thirdPod4              = "10.0.3.2"
	world4, world6         = "198.51.100.7", "2001:db8::7"

	identityA, identityB, identityRemote, identityThird = 1001, 1002, 1003, 1004
)

// natFirst to natLast are the ports that stand for pods'.
const natFirst, natLast = 20000, 20099

// bench is a node with two real pods and maps that know of others; its programs are run packet by packet.
type bench struct {
	*node
	a, b *pod
	// wrapped is from_overlay behind a program that gives the packet tunnel metadata, by (outer source, VNI).
	wrapped map[tunnel]*ebpf.Program
	// owner is the test whose end is the bench's.
	owner testing.TB
}

// tunnel is what the tunnel device says of a packet.
type tunnel struct {
	from string
	vni  uint32
}

func newBench(t testing.TB, cfg loader.Config) *bench {
	t.Helper()
	cfg.TunnelPort = tunnelPort
	b := &bench{node: newNode(t, 1, cfg), wrapped: map[tunnel]*ebpf.Program{}, owner: t}
	b.a, b.b = b.makePod(t, identityA, deviceMTU), b.makePod(t, identityB, deviceMTU)
	var routes []datapath.Route
	for _, r := range []struct {
		prefix   string
		identity datapath.Identity
		node     string
	}{
		{"10.0.1.0/24", 0, ""}, {"fd00:1::/64", 0, ""}, {here4 + "/32", 1, ""}, {here6 + "/128", 1, ""},
		{"10.0.2.0/24", 0, there4}, {"fd00:2::/64", 0, there4}, {"10.0.3.0/24", 0, third4},
		{there4 + "/32", 6, there4}, {there6 + "/128", 6, there4}, {third4 + "/32", 6, third4},
		{remoteRouter4 + "/32", 6, there4}, {remoteRouter6 + "/128", 6, there4},
		{remotePod4 + "/32", identityRemote, there4}, {remotePod6 + "/128", identityRemote, there4},
		{thirdPod4 + "/32", identityThird, third4},
	} {
		route := datapath.Route{Prefix: netip.MustParsePrefix(r.prefix), Identity: r.identity}
		if r.node != "" {
			route.Node = netip.MustParseAddr(r.node)
		}
		routes = append(routes, route)
	}
	must(t, b.maps.PutRoutes(routes))
	must(t, b.maps.SyncIdentities([]datapath.Identity{identityA, identityB, identityRemote, identityThird}))
	b.setNode(t, pathMTU)
	return b
}

func (b *bench) setNode(t testing.TB, mtu int) {
	t.Helper()
	lo, err := b.link.LinkByName("lo")
	must(t, err)
	must(t, b.maps.SetNode(maps.NodeConfig{
		TunnelIfindex: lo.Attrs().Index, MTU: mtu, Routers: b.routers, NATFirst: natFirst, NATLast: natLast,
		Addrs: []netip.Addr{netip.MustParseAddr(here4), netip.MustParseAddr(here6)}, Encapsulate: true,
	}))
}

// fromA gives a frame the MACs of a packet that pod a sends, unless it has its own.
func (b *bench) fromA(f frame) frame {
	if f.smac == (mac{}) {
		f.smac = mac(b.a.ifc.MAC)
	}
	if f.dmac == (mac{}) {
		f.dmac = mac(b.a.ifc.HostMAC)
	}
	return f
}

// sized is a frame of pod a whose IP packet is so long.
func (b *bench) sized(f frame, bytes int) frame {
	f = b.fromA(f)
	f.payload = append(f.payload, make([]byte, bytes-len(f.bytes())+ethHeader)...)
	return f
}

// skb is struct __sk_buff as far as a test run takes and gives it.
type skb struct{ mark, ifindex, gsoSize uint32 }

// Where fields are in it.
const (
	skbMark, skbPriority, skbIfindex, skbGSOSize, skbBytes = 8, 32, 40, 176, 192
)

func (s skb) bytes() []byte {
	b := make([]byte, skbBytes)
	binary.LittleEndian.PutUint32(b[skbMark:], s.mark)
	binary.LittleEndian.PutUint32(b[skbIfindex:], s.ifindex)
	binary.LittleEndian.PutUint32(b[skbGSOSize:], s.gsoSize)
	return b
}

// run is one packet through one program.
type run struct {
	program string
	in      frame
	mark    uint32
	gsoSize uint32
	// device is the host side of pod a when it is zero.
	device int
	tunnel tunnel
}

// result is what became of it.
type result struct {
	action uint32
	mark   uint32
	out    []byte
	// counted are the rows that grew, by one packet each.
	counted []row
}

// row names a counter.
type row struct{ direction, reason string }

// both is a packet that one pod sent and another got.
func both() []row { return []row{{"egress", "forwarded"}, {"ingress", "forwarded"}} }

func egressOf(reason string) []row  { return []row{{"egress", reason}} }
func ingressOf(reason string) []row { return []row{{"ingress", reason}} }

// run runs it inside the node's namespace, where its devices are.
func (b *bench) run(t testing.TB, r run) result {
	t.Helper()
	before := b.counts(t)
	program := b.objects.Program(r.program)
	if r.tunnel != (tunnel{}) {
		program = b.behindTunnel(t, r.tunnel)
	}
	if r.device == 0 {
		r.device = b.a.ifc.HostIndex
	}
	after := make([]byte, skbBytes)
	options := ebpf.RunOptions{
		Data: r.in.bytes(), DataOut: make([]byte, 1<<16), ContextOut: after,
		Context: skb{mark: r.mark, ifindex: uint32(r.device), gsoSize: r.gsoSize}.bytes(),
	}
	var out result
	b.do(t, func() (err error) {
		out.action, err = program.Run(&options)
		return err
	})
	out.mark = binary.LittleEndian.Uint32(after[skbMark:])
	out.out = options.DataOut
	for k, n := range b.counts(t) {
		if n == before[k]+1 {
			out.counted = append(out.counted, k)
		} else if n != before[k] {
			t.Errorf("%v grew by %d", k, n-before[k])
		}
	}
	slices.SortFunc(out.counted, func(x, y row) int { return cmp.Compare(x.direction, y.direction) })
	return out
}

func (b *bench) counts(t testing.TB) map[row]uint64 {
	t.Helper()
	counts, err := b.maps.Counts()
	must(t, err)
	out := map[row]uint64{}
	for _, c := range counts {
		out[row{c.Direction, c.Reason}] = c.Packets
	}
	return out
}

// behindTunnel gives from_overlay a packet as the tunnel device does: the key that a program sets is read back with its
// local address as the sender.
func (b *bench) behindTunnel(t testing.TB, from tunnel) *ebpf.Program {
	t.Helper()
	if p := b.wrapped[from]; p != nil {
		return p
	}
	// A program array forgets its programs when nobody has it open any more.
	table, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	must(t, err)
	b.owner.Cleanup(func() { table.Close() })
	must(t, table.Put(uint32(0), uint32(b.objects.Program("from_overlay").FD())))
	key := make([]byte, 48)
	binary.LittleEndian.PutUint32(key, from.vni)
	flags := int32(0)
	if a := netip.MustParseAddr(from.from); a.Is4() {
		four := a.As4()
		binary.LittleEndian.PutUint32(key[28:], binary.BigEndian.Uint32(four[:]))
	} else {
		copy(key[28:], a.AsSlice())
		flags = 1
	}
	// The kernel repeats a packet as the last run left it; one that has its metadata says so by its priority.
	program := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1), asm.LoadMem(asm.R2, asm.R1, skbPriority, asm.Word), asm.JNE.Imm(asm.R2, 0, "call"),
		asm.Mov.Imm(asm.R2, 1), asm.StoreMem(asm.R1, skbPriority, asm.R2, asm.Word),
	}
	for i := 0; i < len(key); i += 8 {
		program = append(program,
			asm.LoadImm(asm.R2, int64(binary.LittleEndian.Uint64(key[i:])), asm.DWord),
			asm.StoreMem(asm.RFP, int16(i-len(key)), asm.R2, asm.DWord))
	}
	program = append(program,
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(-len(key))),
		asm.Mov.Imm(asm.R3, 44), asm.Mov.Imm(asm.R4, flags), asm.FnSkbSetTunnelKey.Call(),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("call"), asm.LoadMapPtr(asm.R2, table.FD()), asm.Mov.Imm(asm.R3, 0), asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 99), asm.Return(),
	)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: program})
	must(t, err)
	b.owner.Cleanup(func() { p.Close() })
	b.wrapped[from] = p
	return p
}

// step is a case of a table: a packet and what must become of it.
type step struct {
	run
	wantAction  uint32
	wantMark    uint32
	wantCounted []row
	// wantOut is the frame that leaves; nil: the one that came.
	wantOut *frame
}

// check runs the table.
func (b *bench) check(t *testing.T, steps map[string]step) {
	for name, s := range steps {
		t.Run(name, func(t *testing.T) {
			got := b.run(t, s.run)
			if got.action != s.wantAction {
				t.Errorf("action: got %d, want %d", int32(got.action), int32(s.wantAction))
			}
			if got.mark != s.wantMark {
				t.Errorf("mark: got %#x, want %#x", got.mark, s.wantMark)
			}
			if diff := gocmp.Diff(s.wantCounted, got.counted, gocmp.AllowUnexported(row{})); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
			want := s.in
			if s.wantOut != nil {
				want = *s.wantOut
			}
			if diff := gocmp.Diff(want.bytes(), got.out); diff != "" {
				t.Errorf("packet (-want +got):\n%s", diff)
			}
		})
	}
}

// index returns the number of a device.
func (n *namespace) index(t testing.TB, name string) int {
	t.Helper()
	l, err := n.link.LinkByName(name)
	must(t, err)
	return l.Attrs().Index
}

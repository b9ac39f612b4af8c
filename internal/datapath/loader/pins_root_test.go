// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

//go:build root

// Needs root: it loads programs, and makes devices in network namespaces.
package loader

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath"
	"github.com/ciliate-io/ciliate/internal/datapath/lab"
	"github.com/ciliate-io/ciliate/internal/service"
)

// programIDs are the programs' numbers in the kernel.
func programIDs(o *Objects) map[string]ebpf.ProgramID {
	ids := map[string]ebpf.ProgramID{}
	for name, p := range o.programs {
		ids[name] = p.id
	}
	return ids
}

// mapIDs are the maps' numbers in the kernel.
func mapIDs(t *testing.T, o *Objects) map[string]ebpf.MapID {
	t.Helper()
	ids := map[string]ebpf.MapID{}
	for name, m := range o.byName {
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		ids[name], _ = info.ID()
	}
	return ids
}

// remembered is an endpoint and a route that are written before a restart.
func remembered() (datapath.Endpoint, datapath.Interface, datapath.Route) {
	ep := datapath.Endpoint{
		ID: 7, Identity: 1001, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.2")}, Gateways: []netip.Addr{netip.MustParseAddr("10.0.1.1")},
	}
	ifc := datapath.Interface{HostIndex: 9, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, HostMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}}
	return ep, ifc, datapath.Route{Prefix: netip.MustParsePrefix("10.0.2.2/32"), Identity: 1002, Node: netip.MustParseAddr("192.0.2.1")}
}

func TestLoadAdoptsWhatIsPinned(t *testing.T) {
	lab.Enter(t)
	bpffs := lab.BPFFS(t)
	first := loaded(t, Config{TunnelPort: 8472}, bpffs)
	ep, ifc, route := remembered()
	if err := first.Maps().PutEndpoint(ep, ifc); err != nil {
		t.Fatal(err)
	}
	if err := first.Maps().PutRoutes([]datapath.Route{route}); err != nil {
		t.Fatal(err)
	}
	ring := service.Ring{Protocol: service.TCP, Slots: []netip.AddrPort{netip.MustParseAddrPort("10.0.1.2:80")}}
	if err := first.Maps().WriteServices(service.Diff{PutRings: map[uint32]service.Ring{7: ring}}); err != nil {
		t.Fatal(err)
	}
	again := loaded(t, Config{TunnelPort: 8472}, bpffs)
	services, err := again.Maps().Services()
	if err != nil || services.Rings[7] != ring.Sum() {
		t.Errorf("Maglev tables: %v, %v", services.Rings, err)
	}
	if diff := cmp.Diff(programIDs(first), programIDs(again)); diff != "" {
		t.Errorf("programs (-first +again):\n%s", diff)
	}
	if diff := cmp.Diff(mapIDs(t, first), mapIDs(t, again)); diff != "" {
		t.Errorf("maps (-first +again):\n%s", diff)
	}
	observed, err := again.Maps().Endpoints()
	if err != nil {
		t.Fatal(err)
	}
	want := []datapath.Observed{{ID: 7, HostIndex: 9, Addrs: ep.Addrs, Identity: 1001}}
	if diff := cmp.Diff(want, observed, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

func TestAnotherConfigurationIsAnotherProgram(t *testing.T) {
	lab.Enter(t)
	bpffs := lab.BPFFS(t)
	first := loaded(t, Config{TunnelPort: 8472}, bpffs)
	second := loaded(t, Config{TunnelPort: 4789}, bpffs)
	if diff := cmp.Diff(mapIDs(t, first), mapIDs(t, second)); diff != "" {
		t.Errorf("maps (-first +second):\n%s", diff)
	}
	for name, id := range programIDs(second) {
		if id == first.programs[name].id {
			t.Errorf("%s is the program of the other configuration", name)
		}
	}
	pins, err := os.ReadDir(filepath.Join(bpffs, "programs"))
	if err != nil {
		t.Fatal(err)
	}
	if len(pins) != len(second.programs) {
		t.Errorf("got %d pinned programs, want %d: those of the other configuration should be gone", len(pins), len(second.programs))
	}
}

func TestAMapOfAnotherLayoutIsReplaced(t *testing.T) {
	for name, change := range map[string]func(*ebpf.MapSpec){
		"another size of value": func(s *ebpf.MapSpec) { s.ValueSize, s.Value = 32, nil },
		"another capacity":      func(s *ebpf.MapSpec) { s.MaxEntries = 100 },
		"no types, same sizes":  func(s *ebpf.MapSpec) { s.Key, s.Value = nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			lab.Enter(t)
			bpffs := lab.BPFFS(t)
			specs, err := objects(Config{})
			if err != nil {
				t.Fatal(err)
			}
			spec := specs[0].Maps["endpoints"]
			change(spec)
			old, err := ebpf.NewMap(spec)
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			if err := old.Pin(filepath.Join(bpffs, "endpoints")); err != nil {
				t.Fatal(err)
			}
			o := loaded(t, Config{}, bpffs)
			ep, ifc, _ := remembered()
			if err := o.Maps().PutEndpoint(ep, ifc); err != nil {
				t.Fatal(err)
			}
			oldInfo, err := old.Info()
			if err != nil {
				t.Fatal(err)
			}
			if id, _ := oldInfo.ID(); id == mapIDs(t, o)["endpoints"] {
				t.Error("the map of the old layout is still in use")
			}
			pinned, err := ebpf.LoadPinnedMap(filepath.Join(bpffs, "endpoints"), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer pinned.Close()
			if got := pinned.ValueSize(); got != 28 {
				t.Errorf("value of the pinned map: got %d bytes, want 28", got)
			}
		})
	}
}

func TestAMapOfOtherMapsIsReplaced(t *testing.T) {
	lab.Enter(t)
	bpffs := lab.BPFFS(t)
	specs, err := objects(Config{})
	if err != nil {
		t.Fatal(err)
	}
	spec := specs[0].Maps["maglev"]
	spec.InnerMap.ValueSize += 8
	old, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Pin(filepath.Join(bpffs, "maglev")); err != nil {
		t.Fatal(err)
	}
	ring := service.Ring{Protocol: service.TCP, Slots: []netip.AddrPort{netip.MustParseAddrPort("10.0.1.2:80")}}
	if err := loaded(t, Config{}, bpffs).Maps().WriteServices(service.Diff{PutRings: map[uint32]service.Ring{7: ring}}); err != nil {
		t.Errorf("the map of the old layout is still in use: %v", err)
	}
}

func TestAttachToNoDevice(t *testing.T) {
	lab.Enter(t)
	o := loaded(t, Config{}, lab.BPFFS(t))
	for name, attach := range map[string]func(int) error{"pod": attachPod(o), "overlay": o.AttachOverlay, "card": o.AttachNetdev} {
		if err := attach(4711); err == nil {
			t.Errorf("%s: attached to nothing", name)
		}
	}
	for name, deed := range map[string]func(int) error{"detach from": o.DetachNetdev, "settle": o.SettlePod} {
		if err := deed(4711); err != nil {
			t.Errorf("%s a device that is gone: %v", name, err)
		}
	}
}

func TestLoadRefusesAFolderOnAnotherFileSystem(t *testing.T) {
	lab.Enter(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	if _, err := Load(Config{}, dir); err == nil {
		t.Error("maps were pinned on tmpfs")
	}
}

//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/sockets"
	"github.com/ciliate-io/ciliate/internal/service"
)

// Addresses of the socket tests: two servers in each family, and Services that no route leads to.
const (
	first4, second4 = "10.0.9.1:5000", "10.0.9.2:5000"
	first6, second6 = "[fd00:9::1]:5000", "[fd00:9::2]:5000"
	vip4, vip6      = "10.96.0.10:80", "[fd00:96::a]:80"
	alone4, alone6  = "10.96.0.11:80", "[fd00:96::b]:80"

	loopback4, loopback6 = "127.0.0.1:4000", "[::1]:4000"
)

// salon is a namespace with servers in it, whose clients are in a control group with our programs.
type salon struct {
	*namespace
	objects *loader.Objects
	table   *service.Table
	dir     string
}

// newSalon needs root. The test's process is in the group until the test's end.
func newSalon(t *testing.T) *salon {
	t.Helper()
	s := &salon{namespace: newNamespace(t), dir: bpffs(t)}
	s.objects = load(t, s.namespace, loader.Config{TunnelPort: tunnelPort, HostNetns: s.cookie(t)}, s.dir)
	lo, err := s.link.LinkByName("lo")
	must(t, err)
	for _, at := range []string{first4, second4, first6, second6} {
		address := netip.MustParseAddrPort(at)
		ip := address.Addr()
		net, err := netlink.ParseIPNet(netip.PrefixFrom(ip, ip.BitLen()).String())
		must(t, err)
		must(t, s.link.AddrAdd(lo, &netlink.Addr{IPNet: net, Flags: unix.IFA_F_NODAD}))
		s.awaitLocal(t, ip)
	}
	g := newGroup(t)
	t.Cleanup(func() { must(t, s.objects.DetachSockets()) })
	must(t, s.objects.AttachSockets(g.path))
	g.join(t)
	for _, at := range []string{first4, second4, first6, second6} {
		s.serve(t, netip.MustParseAddrPort(at))
	}
	s.table = service.NewTable(service.State{}, s.objects.Maps().ServiceCapacity())
	return s
}

// offer puts backends behind an address, for TCP and UDP.
func (s *salon) offer(t *testing.T, affinity time.Duration, at string, behind ...string) service.Diff {
	t.Helper()
	var sets []service.Set
	for _, protocol := range []service.Protocol{service.TCP, service.UDP} {
		set := service.Set{Name: at + string('0'+rune(protocol)), Affinity: affinity, Frontends: []service.Frontend{
			{Addr: netip.MustParseAddrPort(at), Protocol: protocol},
		}}
		for _, backend := range behind {
			set.Backends = append(set.Backends, netip.MustParseAddrPort(backend))
		}
		sets = append(sets, set)
	}
	diff := s.table.Update(map[string][]service.Set{at: sets})
	must(t, s.objects.Maps().WriteServices(diff))
	return diff
}

// ways are all ways to an address of a family, by sockets of both.
func ways(v6 bool) map[string]way {
	all := map[string]way{}
	for name, family := range map[string]int{" by a socket of IPv4": unix.AF_INET, " by a socket of IPv6": unix.AF_INET6} {
		if v6 && family == unix.AF_INET {
			continue
		}
		all["TCP"+name] = way{family: family, kind: unix.SOCK_STREAM}
		all["connected UDP"+name] = way{family: family, kind: unix.SOCK_DGRAM}
		all["unconnected UDP"+name] = way{family: family, kind: unix.SOCK_DGRAM, unconnected: true}
	}
	return all
}

// TestServices needs root. Each way to a Service leads to its backend, and the client sees the Service as its peer.
func TestServices(t *testing.T) {
	s := newSalon(t)
	s.offer(t, 0, vip4, first4)
	s.offer(t, 0, vip6, first6)
	s.offer(t, 0, alone4)
	s.offer(t, 0, alone6)
	for family, tt := range map[string]struct {
		vip, backend, alone string
		v6                  bool
	}{
		"IPv4: ": {vip4, first4, alone4, false}, "IPv6: ": {vip6, first6, alone6, true},
	} {
		for name, w := range ways(tt.v6) {
			t.Run(family+name, func(t *testing.T) {
				s.check(t, w, tt.vip, tt.backend)
				// An address that is no Service's passes untouched, even the backend's own.
				s.check(t, w, tt.backend, tt.backend)
				start := time.Now()
				_, err := s.ask(t, w, netip.MustParseAddrPort(tt.alone))
				if !errors.Is(err, unix.ECONNREFUSED) || time.Since(start) > patience/2 {
					t.Errorf("a Service without backends: %v after %s, want a refusal at once", err, time.Since(start))
				}
			})
		}
	}
}

// check asks one address and demands the backend's answer under that address.
func (s *salon) check(t *testing.T, w way, at, backend string) {
	t.Helper()
	got, err := s.ask(t, w, netip.MustParseAddrPort(at))
	must(t, err)
	want := answered{Text: backend, Peer: netip.MustParseAddrPort(at)}
	if diff := gocmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

// TestServicesAtLoopback needs root. An address of the loopback is the node's own: its sockets are led to a backend, a pod
// that names it means itself.
func TestServicesAtLoopback(t *testing.T) {
	s := newSalon(t)
	s.offer(t, 0, loopback4, first4)
	s.offer(t, 0, loopback6, first6)
	pod := newNamespace(t)
	for family, tt := range map[string]struct {
		at, backend string
		v6          bool
	}{
		"IPv4: ": {loopback4, first4, false}, "IPv6: ": {loopback6, first6, true},
	} {
		pod.serve(t, netip.MustParseAddrPort(tt.at))
		for name, w := range ways(tt.v6) {
			t.Run(family+name, func(t *testing.T) {
				s.check(t, w, tt.at, tt.backend)
				got, err := pod.ask(t, w, netip.MustParseAddrPort(tt.at))
				must(t, err)
				if got.Text != tt.at {
					t.Errorf("the pod's own %s was answered by %s", tt.at, got.Text)
				}
			})
		}
	}
}

// answers counts who answers.
func (s *salon) answers(t *testing.T, w way, at string, times int) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for range times {
		got, err := s.ask(t, w, netip.MustParseAddrPort(at))
		must(t, err)
		counts[got.Text]++
	}
	return counts
}

// TestServiceBackends needs root. New connections are spread, and follow the list.
func TestServiceBackends(t *testing.T) {
	s := newSalon(t)
	for name, w := range ways(false) {
		t.Run(name, func(t *testing.T) {
			s.offer(t, 0, vip4, first4, second4)
			if got := s.answers(t, w, vip4, 64); got[first4] < 8 || got[second4] < 8 {
				t.Errorf("64 clients were led to %v", got)
			}
			s.offer(t, 0, vip4, second4)
			if got := s.answers(t, w, vip4, 16); got[second4] != 16 {
				t.Errorf("a backend that is gone is still chosen: %v", got)
			}
		})
	}
}

// TestServiceAffinity needs root. A client keeps its backend while it is there and the time has not run out.
func TestServiceAffinity(t *testing.T) {
	s := newSalon(t)
	w := way{family: unix.AF_INET, kind: unix.SOCK_STREAM}
	s.offer(t, time.Hour, vip4, first4, second4)
	got := s.answers(t, w, vip4, 32)
	if len(got) != 1 {
		t.Fatalf("one client was led to %v", got)
	}
	left := map[string]string{first4: second4, second4: first4}
	for kept := range got {
		s.offer(t, time.Hour, vip4, left[kept])
		s.check(t, w, vip4, left[kept])
		s.offer(t, time.Hour, vip4, first4, second4)
		if again := s.answers(t, w, vip4, 16); again[left[kept]] != 16 {
			t.Errorf("the client does not keep its new backend %s: %v", left[kept], again)
		}
	}
	s.offer(t, time.Second, vip4, first4, second4)
	seen := map[string]int{}
	for deadline := time.Now().Add(4 * patience); len(seen) < 2 && time.Now().Before(deadline); time.Sleep(1100 * time.Millisecond) {
		seen[firstKey(s.answers(t, w, vip4, 1))]++
	}
	if len(seen) != 2 {
		t.Errorf("after its time the client still has %v", seen)
	}
}

func firstKey(m map[string]int) string {
	for k := range m {
		return k
	}
	return ""
}

// TestServicesAcrossRestarts needs root. A new agent's programs take the place of the old ones without a gap, and nothing
// stays when they are taken off.
func TestServicesAcrossRestarts(t *testing.T) {
	s := newSalon(t)
	s.offer(t, 0, vip4, first4)
	w := way{family: unix.AF_INET, kind: unix.SOCK_STREAM}
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				close(failed)
				return
			default:
				if _, err := s.ask(t, w, netip.MustParseAddrPort(vip4)); err != nil {
					failed <- err
					return
				}
			}
		}
	}()
	for _, cfg := range []loader.Config{{TunnelPort: 4789}, {TunnelPort: tunnelPort, Native: true}} {
		next := load(t, s.namespace, cfg, s.dir)
		must(t, next.AttachSockets(ownGroup(t)))
		must(t, next.AttachSockets(ownGroup(t)))
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("a connection failed while programs were replaced: %v", err)
	}
	must(t, s.objects.DetachSockets())
	if _, err := s.ask(t, w, netip.MustParseAddrPort(vip4)); err == nil {
		t.Error("the Service answers without programs")
	}
}

// TestSocketsToGoneBackends needs root. A connected socket that a Service led to a backend which is gone gets an error;
// one that named the backend itself goes on.
func TestSocketsToGoneBackends(t *testing.T) {
	s := newSalon(t)
	for name, tt := range map[string]struct {
		family       int
		vip, backend string
	}{
		"IPv4":                     {unix.AF_INET, vip4, first4},
		"IPv4 by a socket of IPv6": {unix.AF_INET6, vip4, first4},
		"IPv6":                     {unix.AF_INET6, vip6, first6},
	} {
		t.Run(name, func(t *testing.T) {
			s.offer(t, 0, tt.vip, tt.backend)
			led := s.connected(t, tt.family, netip.MustParseAddrPort(tt.vip))
			direct := s.connected(t, tt.family, netip.MustParseAddrPort(tt.backend))
			gone := s.offer(t, 0, tt.vip).Gone
			s.do(t, func() error { return sockets.Destroy("", sockets.Targets(gone), s.objects.Maps().CameByService) })
			if _, err := unix.Write(led, []byte("?")); err == nil {
				t.Error("the socket to the backend that is gone still sends")
			}
			if _, err := unix.Write(direct, []byte("?")); err != nil {
				t.Errorf("a socket that named the backend itself: %v", err)
			}
		})
	}
}

// connected is a UDP socket that has talked to an address.
func (n *namespace) connected(t *testing.T, family int, to netip.AddrPort) (fd int) {
	t.Helper()
	n.do(t, func() (err error) {
		if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		_, err = exchange(fd, way{family: family, kind: unix.SOCK_DGRAM}, to)
		return err
	})
	return fd
}

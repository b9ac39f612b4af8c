//go:build root

// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package tests

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/datapath/loader"
	"github.com/ciliate-io/ciliate/internal/datapath/maps"
	"github.com/ciliate-io/ciliate/internal/service"
)

// Ports of the node in the tests of bind: one for TCP in both families, one in IPv4 alone, one in IPv6 alone, and one that
// is no node port, but an external address of a Service which is the node's.
const (
	bothPort, fourPort, sixPort, externalPort = 30100, 30101, 30102, 30103
	freePort                                  = 30104
)

// newHeldSalon is a node whose Services have node ports.
func newHeldSalon(t *testing.T) *salon {
	t.Helper()
	s := newSalon(t)
	addr4, addr6 := netip.MustParseAddrPort(first4).Addr(), netip.MustParseAddrPort(first6).Addr()
	must(t, s.objects.Maps().SetNode(maps.NodeConfig{Addrs: []netip.Addr{addr4, addr6}}))
	var sets []service.Set
	for _, at := range []netip.AddrPort{
		netip.AddrPortFrom(addr4, bothPort), netip.AddrPortFrom(addr6, bothPort),
		netip.AddrPortFrom(addr4, fourPort), netip.AddrPortFrom(addr6, sixPort), netip.AddrPortFrom(addr4, externalPort),
	} {
		set := service.Set{Name: at.String(), Frontends: []service.Frontend{{Addr: at, Protocol: service.TCP}}}
		if at.Port() != externalPort {
			set.NodePorts = []netip.AddrPort{at}
		}
		sets = append(sets, set)
	}
	must(t, s.objects.Maps().WriteServices(s.table.Update(map[string][]service.Set{"ns/held": sets})))
	return s
}

// bind tries to get an address for a socket, inside the namespace.
func (n *namespace) bind(t *testing.T, family, kind int, at netip.AddrPort) (err error) {
	t.Helper()
	n.do(t, func() error {
		fd, failure := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if failure != nil {
			return failure
		}
		defer unix.Close(fd)
		err = unix.Bind(fd, endOf(family, at))
		return nil
	})
	return err
}

// TestNodePortsAreHeld needs root: a process of the node cannot listen where it would hear nothing, and can everywhere else.
func TestNodePortsAreHeld(t *testing.T) {
	s := newHeldSalon(t)
	const four, six, tcp, udp = unix.AF_INET, unix.AF_INET6, unix.SOCK_STREAM, unix.SOCK_DGRAM
	tests := map[string]struct {
		family, kind int
		at           string
		port         uint16
		held         bool
	}{
		"IPv4: everywhere":                         {four, tcp, "0.0.0.0", bothPort, true},
		"IPv4: the node's address":                 {four, tcp, "10.0.9.1", bothPort, true},
		"IPv4: an address that has no node ports":  {four, tcp, "10.0.9.2", bothPort, false},
		"IPv4: loopback":                           {four, tcp, "127.0.0.1", bothPort, false},
		"IPv4: another protocol":                   {four, udp, "0.0.0.0", bothPort, false},
		"IPv4: another port":                       {four, tcp, "0.0.0.0", freePort, false},
		"IPv4: the kernel's choice":                {four, tcp, "0.0.0.0", 0, false},
		"IPv4: a node port of IPv6":                {four, tcp, "0.0.0.0", sixPort, false},
		"IPv4: a node port of IPv6, by address":    {four, tcp, "10.0.9.1", sixPort, false},
		"IPv4: an external address":                {four, tcp, "10.0.9.1", externalPort, false},
		"IPv4: an external address, by everywhere": {four, tcp, "0.0.0.0", externalPort, false},
		"IPv6: everywhere":                         {six, tcp, "::", bothPort, true},
		"IPv6: the node's address":                 {six, tcp, "fd00:9::1", bothPort, true},
		"IPv6: an address that has no node ports":  {six, tcp, "fd00:9::2", bothPort, false},
		"IPv6: loopback":                           {six, tcp, "::1", bothPort, false},
		"IPv6: another protocol":                   {six, udp, "::", bothPort, false},
		"IPv6: another port":                       {six, tcp, "::", freePort, false},
		"IPv6: the kernel's choice":                {six, tcp, "::", 0, false},
		"IPv6: a node port of IPv4":                {six, tcp, "::", fourPort, true},
		"IPv6: a node port of IPv4, by address":    {six, tcp, "fd00:9::1", fourPort, false},
		"mapped: everywhere":                       {six, tcp, "::ffff:0.0.0.0", fourPort, true},
		"mapped: the node's address":               {six, tcp, "::ffff:10.0.9.1", fourPort, true},
		"mapped: loopback":                         {six, tcp, "::ffff:127.0.0.1", fourPort, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			at := netip.AddrPortFrom(netip.MustParseAddr(tt.at), tt.port)
			err := s.bind(t, tt.family, tt.kind, at)
			if errors.Is(err, unix.EADDRINUSE) != tt.held || !tt.held && err != nil {
				t.Errorf("bind to %s: %v, want it refused: %t", at, err, tt.held)
			}
		})
	}
}

// TestNodePortsAreHeldOnTheNode needs root: not in pods, not beside kube-proxy, and only while there is a Service.
func TestNodePortsAreHeldOnTheNode(t *testing.T) {
	s := newHeldSalon(t)
	everywhere := netip.AddrPortFrom(netip.IPv4Unspecified(), bothPort)
	tryBind := func(n *namespace) error { return n.bind(t, unix.AF_INET, unix.SOCK_STREAM, everywhere) }
	if err := tryBind(newNamespace(t)); err != nil {
		t.Errorf("in a pod: %v", err)
	}
	// What Go makes is a socket of MPTCP, where the kernel has it.
	s.do(t, func() error {
		l, err := net.Listen("tcp", ":30100")
		if err == nil {
			err = l.Close()
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("a listener of Go: %v, want %v", err, unix.EADDRINUSE)
		}
		return nil
	})
	beside := load(t, s.namespace, loader.Config{TunnelPort: tunnelPort, HostNetns: s.cookie(t), StackForwarding: true}, s.dir)
	must(t, beside.AttachSockets(ownGroup(t)))
	if err := tryBind(s.namespace); err != nil {
		t.Errorf("beside kube-proxy: %v", err)
	}
	must(t, s.objects.AttachSockets(ownGroup(t)))
	if err := tryBind(s.namespace); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("without kube-proxy again: %v, want %v", err, unix.EADDRINUSE)
	}
	must(t, s.objects.Maps().WriteServices(s.table.Update(map[string][]service.Set{"ns/held": nil})))
	if err := tryBind(s.namespace); err != nil {
		t.Errorf("the Service is gone: %v", err)
	}
}

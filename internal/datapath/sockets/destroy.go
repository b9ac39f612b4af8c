// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ciliate-io/ciliate/internal/service"
)

// established is TCP_ESTABLISHED of the kernel, which a connected UDP socket is too.
const established = 1

// Where fields are in struct inet_diag_req_v2.
const (
	requestBytes    = 56
	requestProtocol = 1
	requestStates   = 4
	requestID       = 8
	cookieInID      = 40
)

// Came tells whether the socket with this cookie was led to the backend by a Service.
type Came func(cookie uint64, backend netip.AddrPort) (bool, error)

// Targets are those of the backends to which sockets of UDP can be connected.
func Targets(gone []service.Backend) map[netip.AddrPort]bool {
	targets := map[netip.AddrPort]bool{}
	for _, backend := range gone {
		if backend.Protocol == service.UDP {
			targets[backend.Addr] = true
		}
	}
	return targets
}

// Destroy ends the sockets of one network namespace that are connected to a target and came there by a Service: those
// who named the address themselves keep theirs. An empty path is the namespace of the calling thread.
func Destroy(path string, targets map[netip.AddrPort]bool, came Came) error {
	at := netns.None()
	if path != "" {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		defer func() { _ = file.Close() }()
		at = netns.NsHandle(file.Fd())
	}
	handle, err := netlink.NewHandleAt(at, unix.NETLINK_INET_DIAG)
	if err != nil {
		return fmt.Errorf("open sock_diag: %w", err)
	}
	defer handle.Close()
	socket, err := nl.GetNetlinkSocketAt(at, netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		return fmt.Errorf("open sock_diag: %w", err)
	}
	defer socket.Close()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := destroy(handle, socket, family, targets, came); err != nil {
			return err
		}
	}
	return nil
}

func destroy(handle *netlink.Handle, socket *nl.NetlinkSocket, family uint8, targets map[netip.AddrPort]bool, came Came) error {
	connected, err := handle.SocketDiagUDP(family)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list sockets: %w", err)
	}
	var errs []error
	for _, s := range connected {
		peer, ok := peerOf(s)
		if !ok || s.State != established || !targets[peer] {
			continue
		}
		cookie := uint64(s.ID.Cookie[0]) | uint64(s.ID.Cookie[1])<<32
		ours, err := came(cookie, peer)
		if err == nil && ours {
			err = end(socket, s)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// peerOf is whom a socket is connected to; a socket of IPv6 may be connected to an IPv4 address.
func peerOf(s *netlink.Socket) (netip.AddrPort, bool) {
	addr, ok := netip.AddrFromSlice(s.ID.Destination)
	return netip.AddrPortFrom(addr.Unmap(), s.ID.DestinationPort), ok
}

// request is a struct inet_diag_req_v2.
type request []byte

func (r request) Len() int          { return len(r) }
func (r request) Serialize() []byte { return r }

// end ends one socket, which its cookie names whatever has become of it; one that is closed already is no error.
func end(socket *nl.NetlinkSocket, s *netlink.Socket) error {
	r := make(request, requestBytes)
	r[0], r[requestProtocol] = s.Family, unix.IPPROTO_UDP
	binary.NativeEndian.PutUint32(r[requestStates:], 1<<established)
	id := r[requestID:]
	binary.BigEndian.PutUint16(id, s.ID.SourcePort)
	binary.BigEndian.PutUint16(id[2:], s.ID.DestinationPort)
	copy(id[4:20], raw(s.Family, s.ID.Source))
	copy(id[20:36], raw(s.Family, s.ID.Destination))
	binary.NativeEndian.PutUint32(id[36:], s.ID.Interface)
	binary.NativeEndian.PutUint32(id[cookieInID:], s.ID.Cookie[0])
	binary.NativeEndian.PutUint32(id[cookieInID+4:], s.ID.Cookie[1])
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: {Socket: socket}}
	req.AddData(r)
	if _, err := req.Execute(unix.NETLINK_INET_DIAG, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("end the socket to %s:%d: %w", s.ID.Destination, s.ID.DestinationPort, err)
	}
	return nil
}

// raw is an address as the kernel lists it for the family.
func raw(family uint8, address []byte) []byte {
	if a, ok := netip.AddrFromSlice(address); ok && family == unix.AF_INET {
		return a.Unmap().AsSlice()
	}
	return address
}
